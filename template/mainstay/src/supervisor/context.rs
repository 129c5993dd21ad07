//! What a task knows of its supervisor.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::status::Shared;

/// Handed to a task for one run.
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

    /// Completes when this run is to end: it has until its stop timeout, and is aborted then.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether this run is to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Says that there is progress, for a task with a heartbeat.
    pub fn beat(&self) {
        self.beat.send_replace(Instant::now());
        self.status.lock().last_beat = Some(SystemTime::now());
    }

    /// Says that the task is ready for those that depend on it, for a task that is waited for.
    pub fn started(&self) {
        self.started.send_replace(true);
    }
}
