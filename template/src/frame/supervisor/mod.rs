//! The supervisor: it keeps tasks running, and stops them in order.
//!
//! A task is a name, a policy and a function that makes its future, which can be called again.
//!
//! - A task that fails, by an error or a panic, is started again, after a pause that grows and is
//!   never the same. Its siblings do not notice.
//! - One that fails too often is given up. If it is critical, that ends the service.
//! - A stop tells tasks to end in the reverse of the order in which they were registered, each
//!   when the one before has ended. What does not end in time is aborted, and named.
//! - Once a stop has begun, nothing starts, and nothing comes back.
//!
//! Policies as in Erlang's supervisors and Go's suture. Dropping a handle stops nothing.

mod context;
mod group;
mod one_shot;
mod outcome;
mod periodic;
mod policy;
mod task;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use context::Context;
pub use group::Group;
pub use outcome::Outcome;
pub use periodic::Every;
pub use task::{State, Status};

use one_shot::OneShots;
use outcome::erased;
use policy::{Policy, Restart};
use task::{End, Factory, Order, Shared, Task};

/// A handle to the supervisor of this process. All clones are the same one.
#[derive(Clone, Default)]
pub struct Supervisor(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tasks: Mutex<Tasks>,
    one_shots: OneShots,
    /// Cancelled when the stop begins.
    closing: CancellationToken,
    gave_up: watch::Sender<Option<Arc<str>>>,
}

#[derive(Default)]
struct Tasks {
    /// In the order of their registration.
    all: Vec<Supervised>,
    by_name: HashMap<Arc<str>, usize>,
}

struct Supervised {
    task: Arc<Task>,
    /// Taken by the stop.
    life: Option<JoinHandle<End>>,
}

/// Why a task was not taken on, or an order not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is a task {0:?} already")]
    NameTaken(Arc<str>),
    #[error("the service is stopping: {0:?} is not started any more")]
    Stopping(Arc<str>),
    #[error("there is no task {0:?} that could be told anything")]
    Unknown(Arc<str>),
}

/// Why a task that is waited for did not start.
#[derive(Debug, thiserror::Error)]
#[error("the task {name:?} did not start: {cause}")]
pub struct NotStarted {
    name: Arc<str>,
    cause: String,
}

impl Supervisor {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A task that runs for as long as the service does.
    pub fn task(&self, name: &str) -> Builder {
        Builder {
            supervisor: self.clone(),
            name: name.into(),
            policy: Policy::default(),
            group: None,
        }
    }

    /// A task that runs once an interval.
    pub fn every(&self, name: &str, interval: Duration) -> Every {
        Every::new(self.task(name), interval)
    }

    /// Work that is done once, now, and that a stop waits for.
    ///
    /// # Errors
    ///
    /// Once the stop has begun.
    pub fn spawn<F>(&self, name: &'static str, work: F) -> Result<(), Refused>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        self.0.one_shots.spawn(name, work, &self.0.closing)
    }

    /// What is known of each task, in the order of their registration.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        self.tasks()
            .all
            .iter()
            .map(|supervised| supervised.task.status.lock().clone())
            .collect()
    }

    /// The critical tasks that do not run just now.
    #[must_use]
    pub fn missing(&self) -> Vec<Arc<str>> {
        let tasks = self.tasks();
        let statuses = tasks
            .all
            .iter()
            .map(|supervised| supervised.task.status.lock());
        let missing = statuses.filter(|status| status.critical && status.state != State::Running);
        missing.map(|status| Arc::clone(&status.name)).collect()
    }

    /// Completes with the name of a critical task that was given up.
    pub async fn gave_up(&self) -> Arc<str> {
        let mut gave_up = self.0.gave_up.subscribe();
        loop {
            if let Some(name) = gave_up.borrow_and_update().clone() {
                return name;
            }
            // The sender is in `self`, so that a change will come or nothing ever will.
            if gave_up.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Stops a task until it is resumed.
    ///
    /// # Errors
    ///
    /// When no such task is alive.
    pub fn pause(&self, name: &str) -> Result<(), Refused> {
        self.order(name, Order::Pause)
    }

    /// Starts a paused task again.
    ///
    /// # Errors
    ///
    /// When no such task is alive.
    pub fn resume(&self, name: &str) -> Result<(), Refused> {
        self.order(name, Order::Resume)
    }

    /// Stops a task and starts it again at once, also one that is pausing or was given up.
    ///
    /// # Errors
    ///
    /// When no such task is alive.
    pub fn restart(&self, name: &str) -> Result<(), Refused> {
        self.order(name, Order::Restart)
    }

    /// Whatever a stop still waits for.
    #[must_use]
    pub fn alive(&self) -> Vec<String> {
        let alive = |status: &Status| !matches!(status.state, State::Stopped | State::GaveUp);
        let statuses = self.statuses();
        let alive = statuses.iter().filter(|status| alive(status));
        alive.map(|status| status.name.to_string()).collect()
    }

    /// Stops everything within this time, and says what had to be aborted.
    pub async fn stop(&self, within: Duration) -> Vec<String> {
        self.0.closing.cancel();
        let deadline = Instant::now() + within;
        let (mut left, shots) =
            tokio::join!(self.stop_tasks(deadline), self.0.one_shots.stop(deadline));
        left.extend(shots);
        left
    }

    async fn stop_tasks(&self, deadline: Instant) -> Vec<String> {
        let lives: Vec<_> = self
            .tasks()
            .all
            .iter_mut()
            .rev()
            .filter_map(|supervised| Some((Arc::clone(&supervised.task), supervised.life.take()?)))
            .collect();
        let mut left = Vec::new();
        for (task, life) in lives {
            task.stop_by(deadline);
            match life.await {
                Ok(End::Aborted) => {
                    tracing::warn!(task = &*task.name, "task aborted");
                    left.push(task.name.to_string());
                }
                Ok(End::Done | End::Failed(_) | End::GaveUp) | Err(_) => {}
            }
        }
        left
    }

    fn order(&self, name: &str, order: Order) -> Result<(), Refused> {
        let unknown = || Refused::Unknown(name.into());
        let tasks = self.tasks();
        let index = *tasks.by_name.get(name).ok_or_else(unknown)?;
        tasks.all[index]
            .task
            .orders
            .try_send(order)
            .map_err(|_| unknown())?;
        tracing::info!(task = name, order = ?order, "operator");
        Ok(())
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.statuses()).finish()
    }
}

/// A task that is being described. Each line says in what it differs from the default.
#[must_use = "a task is started by `run`"]
pub struct Builder {
    supervisor: Supervisor,
    name: Arc<str>,
    policy: Policy,
    group: Option<Group>,
}

impl Builder {
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
    pub fn run<M, F>(self, make: M) -> Result<Handle, Refused>
    where
        M: Fn(Context) -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        self.start(Box::new(move |context| erased(make(context))))
    }

    fn start(self, factory: Factory) -> Result<Handle, Refused> {
        let Self {
            supervisor,
            name,
            policy,
            group,
        } = self;
        let inner = &supervisor.0;
        let mut tasks = supervisor.tasks();
        if inner.closing.is_cancelled() {
            return Err(Refused::Stopping(name));
        }
        if tasks.by_name.contains_key(&name) {
            return Err(Refused::NameTaken(name));
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

#[cfg(test)]
mod tests;
