//! Describes a task, and starts it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::policy::{Policy, Restart};
use super::task::Task;
use super::task::{self, Outcome};
use super::{Context, SpawnError, Supervisor};

/// Describes a task. Each method changes one default of its policy.
#[must_use = "a task is started by `run`"]
#[derive(Debug)]
pub struct Builder {
    pub(super) supervisor: Supervisor,
    pub(super) name: Arc<str>,
    pub(super) policy: Policy,
}

impl Builder {
    /// The service depends on this task: it is not ready while the task does not run, and stops if the task
    /// is given up.
    pub fn critical(mut self) -> Self {
        self.policy.critical = true;
        self
    }

    /// After which ends the task is restarted.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.policy.restart = restart;
        self
    }

    /// The limit of the pause before the first restart, and the longest limit. The limit doubles with each
    /// failure in a row; the pause is random up to it. By default, 100 ms and 30 s.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.policy.first_pause = first;
        self.policy.max_pause = most;
        self
    }

    /// Gives the task up after more than `most` restarts within the window. By default, 5 in a minute.
    pub fn max_restarts(mut self, most: usize, window: Duration) -> Self {
        self.policy.max_restarts = most;
        self.policy.window = window;
        self
    }

    /// How long the task may take to end once it is cancelled, before it is aborted. By default, 5 s.
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.policy.stop_within = time;
        self
    }

    /// Restarts the task if it does not call [`Context::beat`] for this time.
    pub fn heartbeat(mut self, within: Duration) -> Self {
        self.policy.heartbeat = Some(within);
        self
    }

    /// Starts the task. `make` is called for each run.
    ///
    /// # Errors
    ///
    /// If there is a task of this name, or the stop has begun.
    pub fn run<M, F>(self, make: M) -> Result<Handle, SpawnError>
    where
        M: Fn(Context) -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let factory = task::factory(make);
        let task = self.supervisor.start(self.name, self.policy, factory)?;
        Ok(Handle(task))
    }
}

/// A task that was started. Dropping the handle does not stop the task.
#[derive(Debug)]
pub struct Handle(Arc<Task>);

impl Handle {
    /// Waits until the task calls [`Context::started`].
    ///
    /// # Errors
    ///
    /// If the task fails before, or takes longer. The task goes on in both cases.
    pub async fn started(&self, within: Duration) -> Result<(), SpawnError> {
        let started = timeout(within, self.0.start.wait()).await;
        let started = started.cloned().unwrap_or_else(|_| {
            let within = humantime::format_duration(within);
            Err(format!("it took longer than {within}"))
        });
        started.map_err(|cause| SpawnError::NotStarted(Arc::clone(&self.0.name), cause))
    }
}
