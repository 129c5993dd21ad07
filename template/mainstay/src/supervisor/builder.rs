//! Describes a task and starts it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::outcome::Outcome;
use super::policy::{Policy, Restart};
use super::run::erased;
use super::status::Shared;
use super::task::{Factory, Task};
use super::{Context, Group, SpawnError, Supervised, Supervisor};

/// Describes a task. Each method changes one default of its policy.
#[must_use = "a task is started by `run`"]
pub struct Builder {
    supervisor: Supervisor,
    name: Arc<str>,
    policy: Policy,
    group: Option<Group>,
}

impl Builder {
    pub(super) fn new(supervisor: Supervisor, name: &str) -> Self {
        Self {
            supervisor,
            name: name.into(),
            policy: Policy::default(),
            group: None,
        }
    }

    /// The service depends on this task: it is not ready while the task does not run, and stops if the task
    /// is given up.
    pub fn critical(mut self) -> Self {
        self.policy.critical = true;
        self
    }

    /// Restarts the task after a failure only. By default, it is restarted whenever it ends.
    pub fn restart_on_failure(mut self) -> Self {
        self.policy.restart = Restart::OnFailure;
        self
    }

    /// Never restarts the task.
    pub fn restart_never(mut self) -> Self {
        self.policy.restart = Restart::Never;
        self
    }

    /// The limit of the pause before the first restart, and the longest limit. The limit doubles with each
    /// failure in a row; the pause is random up to it. By default, 100 ms and 30 s.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.policy.backoff.first = first;
        self.policy.backoff.most = most;
        self
    }

    /// Gives the task up after more than `most` restarts within the window. By default, 5 in a minute.
    pub fn max_restarts(mut self, most: usize, window: Duration) -> Self {
        self.policy.intensity.most = most;
        self.policy.intensity.window = window;
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

    /// Joins a group: when a task that joined before this one fails, this one stops, and restarts after it.
    pub fn in_group(mut self, group: &Group) -> Self {
        self.group = Some(group.clone());
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
        let make = Arc::new(make);
        self.start(Box::new(move |context| erased(Arc::clone(&make), context)))
    }

    fn start(self, factory: Factory) -> Result<Handle, SpawnError> {
        let Self {
            supervisor,
            name,
            policy,
            group,
        } = self;
        let inner = &supervisor.0;
        let mut tasks = supervisor.tasks();
        if inner.closing.is_cancelled() {
            return Err(SpawnError::Stopping(name));
        }
        if tasks.by_name.contains_key(&name) {
            return Err(SpawnError::NameTaken(name));
        }
        let (orders, received) = mpsc::channel(4);
        let task = Arc::new(Task {
            status: Shared::new(Arc::clone(&name), policy.critical),
            name,
            policy,
            factory,
            place: group.map(|group| group.join()),
            orders,
            stop: CancellationToken::new(),
            deadline: Mutex::new(None),
            closing: inner.closing.clone(),
            started: watch::Sender::new(false),
            failed: watch::Sender::new(None),
            gave_up: inner.gave_up.clone(),
        });
        let living = Arc::clone(&task);
        // The handle is kept, and awaited by `stop`.
        #[expect(clippy::disallowed_methods)]
        let life = tokio::spawn(async move { living.live(received).await });
        let index = tasks.all.len();
        tasks.by_name.insert(Arc::clone(&task.name), index);
        tasks.all.push(Supervised {
            task: Arc::clone(&task),
            life: Some(life),
        });
        Ok(Handle(task))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A task that was started. Dropping the handle does not stop the task.
pub struct Handle(Arc<Task>);

impl Handle {
    /// Waits until the task calls [`Context::started`].
    ///
    /// # Errors
    ///
    /// If the task fails before, or takes longer. The task goes on in both cases.
    pub async fn started(&self, within: Duration) -> Result<(), NotStarted> {
        self.0
            .first_start(within)
            .await
            .map_err(|cause| NotStarted {
                name: Arc::clone(&self.0.name),
                cause,
            })
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle")
            .field(&self.0.status.lock())
            .finish()
    }
}

/// Why [`Handle::started`] failed.
#[derive(Debug, thiserror::Error)]
#[error("the task {name:?} did not start: {cause}")]
pub struct NotStarted {
    name: Arc<str>,
    cause: String,
}
