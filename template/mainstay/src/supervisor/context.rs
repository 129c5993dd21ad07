//! The side of the supervisor that a task sees.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::status::Shared;

/// Given to a task for one run.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) name: Arc<str>,
    pub(super) cancelled: CancellationToken,
    pub(super) beat: watch::Sender<Instant>,
    pub(super) started: watch::Sender<bool>,
    pub(super) status: Shared,
}

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
        self.started.send_replace(true);
    }
}
