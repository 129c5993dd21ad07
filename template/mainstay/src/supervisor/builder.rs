//! How a task is described and started.

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

/// A task that is being described. Each line says in what it differs from the default.
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

    /// Without it, the service makes no sense: when it is given up, the service stops, and until
    /// it runs, the service is not ready.
    pub fn critical(mut self) -> Self {
        self.policy.critical = true;
        self
    }

    /// It may end by itself, and is started again only after a failure.
    pub fn on_failure(mut self) -> Self {
        self.policy.restart = Restart::OnFailure;
        self
    }

    /// It runs once, whatever comes of that.
    pub fn never(mut self) -> Self {
        self.policy.restart = Restart::Never;
        self
    }

    /// The pause after a first failure, and the longest one. Each pause is random up to a limit
    /// that doubles.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.policy.backoff.first = first;
        self.policy.backoff.most = most;
        self
    }

    /// With more restarts than this within the window, it is given up.
    pub fn restarts(mut self, most: usize, window: Duration) -> Self {
        self.policy.intensity.most = most;
        self.policy.intensity.window = window;
        self
    }

    /// How long it may take to end when it is told to; then it is aborted.
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.policy.stop_within = time;
        self
    }

    /// It calls [`Context::beat`] at least this often, or it is stuck, and started again.
    pub fn heartbeat(mut self, within: Duration) -> Self {
        self.policy.heartbeat = Some(within);
        self
    }

    /// When one that joined the group before it fails, this stops, and starts again after it.
    pub fn after(mut self, group: &Group) -> Self {
        self.group = Some(group.clone());
        self
    }

    /// Starts it. Whatever `make` gives is the task, and is asked for again at each restart.
    ///
    /// # Errors
    ///
    /// When the name is taken, or the stop has begun.
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

/// A task that was started. Dropping it changes nothing.
pub struct Handle(Arc<Task>);

impl Handle {
    /// Waits until the task calls [`Context::started`].
    ///
    /// # Errors
    ///
    /// When it fails before, or takes longer: whoever waits decides what that means.
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

/// Why a task that is waited for did not start.
#[derive(Debug, thiserror::Error)]
#[error("the task {name:?} did not start: {cause}")]
pub struct NotStarted {
    name: Arc<str>,
    cause: String,
}
