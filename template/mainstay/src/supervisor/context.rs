//! What a task is given for a run, and what it may return.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::status::{Failure, Shared};
use crate::panics;

/// Given to a task for one run.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) name: Arc<str>,
    pub(super) cancelled: CancellationToken,
    pub(super) beat: watch::Sender<Instant>,
    pub(super) start: watch::Sender<Start>,
    pub(super) status: Shared,
}

/// The result of a start, for [`Handle::started`](super::Handle::started). `None` until it is known.
pub(super) type Start = Option<Result<(), Failure>>;

impl Context {
    /// The name of the task.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
        self.beat.send_replace(Instant::now());
        self.status.lock().last_beat = Some(SystemTime::now());
    }

    /// Reports that the task is ready, for [`Handle::started`](super::Handle::started).
    pub fn started(&self) {
        self.start.send_replace(Some(Ok(())));
    }
}

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
pub(super) type Run = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A run that calls `make` when it is first polled, so that a panic in `make` is a failure of the run.
pub(super) fn erased<M, F>(make: Arc<M>, context: Context) -> Run
where
    M: Fn(Context) -> F + Send + Sync + 'static,
    F: Future<Output: Outcome> + Send + 'static,
{
    Box::pin(async move { make(context).await.into_failure().map_or(Ok(()), Err) })
}

/// The run, with a panic turned into a failure.
pub(super) async fn caught(run: Run) -> Result<(), Failure> {
    panics::caught(run).await.flatten()
}
