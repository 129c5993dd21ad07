//! What a task is given for a run, and what it may return.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::task::Task;
use crate::panics;

/// Given to a task for one run.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) task: Arc<Task>,
    pub(super) cancelled: CancellationToken,
    pub(super) beats: watch::Sender<()>,
}

impl Context {
    /// The name of the task.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.task.name
    }

    /// Completes when the run must end. If it does not end within its stop timeout, it is aborted.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether the run must end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Reports progress, for a task with a [heartbeat](super::Builder::heartbeat).
    pub fn beat(&self) {
        self.beats.send_replace(());
        self.task.status().last_beat = Some(SystemTime::now());
    }

    /// Reports that the task is ready, for [`Handle::started`](super::Handle::started).
    pub fn started(&self) {
        _ = self.task.start.set(Ok(()));
    }
}

/// Why a run failed: the message of an error or a panic.
pub(super) type Failure = String;

/// What the future of a task may return: `()`, or a `Result`.
pub trait Outcome {
    /// The message of the error, if it is one.
    fn into_failure(self) -> Option<String>;
}

impl Outcome for () {
    fn into_failure(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn into_failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// One run of a task.
pub(super) type Run = BoxFuture<'static, Option<Failure>>;

pub(super) type Factory = Arc<dyn Fn(Context) -> Run + Send + Sync>;

/// Makes runs that call `make` when they are first polled. A panic is a failure, also one in `make`.
pub(super) fn factory<M, F>(make: M) -> Factory
where
    M: Fn(Context) -> F + Send + Sync + 'static,
    F: Future<Output: Outcome> + Send + 'static,
{
    let make = Arc::new(make);
    Arc::new(move |context| {
        let make = Arc::clone(&make);
        let run = async move { make(context).await.into_failure() };
        let ended = panics::caught(run).map(|ended| ended.unwrap_or_else(Some));
        ended.boxed()
    })
}
