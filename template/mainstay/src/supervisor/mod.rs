//! The supervisor: it restarts tasks that fail, and stops them in order.
//!
//! A task is a name, a policy, and a function that makes its future, which is called for each run.
//!
//! - A task that fails, by an error or a panic, is restarted after an exponential backoff with jitter. Other
//!   tasks are not affected.
//! - A task that fails too often is given up. If it is critical, the process stops.
//! - A stop cancels the tasks in the reverse order of their registration, one after the other. A task that
//!   does not end in time is aborted, and named.
//! - Once the stop has begun, no task starts or restarts.
//!
//! The policies are those of Erlang's supervisors and Go's suture. Dropping a handle does not stop a task.

mod builder;
mod context;
mod one_shot;
mod periodic;
mod policy;
#[cfg(feature = "cron")]
mod schedule;
mod status;
mod task;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use builder::{Builder, Handle};
pub use context::{Context, Outcome};
pub use periodic::Periodic;
#[cfg(feature = "cron")]
pub use schedule::{Schedule, ScheduleError};
pub use status::{State, Status};

use one_shot::OneShots;
use periodic::Due;
use policy::Policy;
use status::Shared;
use task::{End, Factory, Order, Task};

/// Runs the tasks of a process. All clones are the same.
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

/// Why a task was not started, or an order not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// There is a task of this name.
    #[error("there is a task {0:?} already")]
    NameTaken(Arc<str>),
    /// The stop has begun.
    #[error("the service is stopping: the task {0:?} is not started")]
    Stopping(Arc<str>),
    /// There is no running task of this name.
    #[error("there is no running task {0:?}")]
    Unknown(Arc<str>),
    /// The first run ended or took too long, before it had started.
    #[error("the task {0:?} did not start: {1}")]
    NotStarted(Arc<str>, String),
}

impl Supervisor {
    /// A supervisor without tasks. A service has [`Process::supervisor`](crate::Process::supervisor).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Describes a task that runs as long as the process.
    pub fn task(&self, name: &str) -> Builder {
        Builder::new(self.clone(), name)
    }

    /// Describes a task that runs once per interval.
    pub fn every(&self, name: &str, interval: Duration) -> Periodic {
        Periodic::new(self.task(name), Due::every(interval))
    }

    /// Describes a task that runs at the times of a schedule.
    #[cfg(feature = "cron")]
    pub fn at(&self, name: &str, schedule: &Schedule) -> Periodic {
        let occurrence = schedule::Occurrence::new(schedule.clone());
        Periodic::new(self.task(name), Due::Scheduled(occurrence))
    }

    /// Runs work once, now. The stop waits for it.
    ///
    /// # Errors
    ///
    /// If the stop has begun.
    pub fn spawn<F>(&self, name: &'static str, work: F) -> Result<(), SpawnError>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        self.0.one_shots.spawn(name, work, &self.0.closing)
    }

    /// The status of each task, in the order of their registration.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        self.tasks()
            .all
            .iter()
            .map(|supervised| supervised.task.status.lock().clone())
            .collect()
    }

    /// The names of what still runs: tasks in the order of the stop, then work that runs once.
    pub(crate) fn alive(&self) -> Vec<String> {
        let tasks = self.tasks();
        let alive = tasks.all.iter().rev().filter(|it| it.task.is_alive());
        let names = alive.map(|it| it.task.name.to_string());
        names.chain(self.0.one_shots.alive()).collect()
    }

    /// Completes with the name of a critical task that was given up.
    pub(crate) async fn gave_up(&self) -> Arc<str> {
        value_of(&self.0.gave_up).await
    }

    /// Stops a task until it is resumed.
    ///
    /// # Errors
    ///
    /// If there is no running task of this name.
    pub fn pause(&self, name: &str) -> Result<(), SpawnError> {
        self.order(name, Order::Pause)
    }

    /// Starts a paused task again.
    ///
    /// # Errors
    ///
    /// If there is no running task of this name.
    pub fn resume(&self, name: &str) -> Result<(), SpawnError> {
        self.order(name, Order::Resume)
    }

    /// Restarts a task at once, also one that backs off, is paused, or was given up.
    ///
    /// # Errors
    ///
    /// If there is no running task of this name.
    pub fn restart(&self, name: &str) -> Result<(), SpawnError> {
        self.order(name, Order::Restart)
    }

    /// Stops all tasks within this time, and returns the names of those that were aborted.
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
                Ok(End::Stopped | End::GaveUp) | Err(_) => {}
            }
        }
        left
    }

    fn start(
        &self,
        name: Arc<str>,
        policy: Policy,
        factory: Factory,
    ) -> Result<Handle, SpawnError> {
        let mut tasks = self.tasks();
        if self.0.closing.is_cancelled() {
            return Err(SpawnError::Stopping(name));
        }
        if tasks.by_name.contains_key(&name) {
            return Err(SpawnError::NameTaken(name));
        }
        let (orders, received) = mpsc::channel(4);
        let task = Arc::new(Task {
            status: Shared::new(Arc::clone(&name), policy.critical),
            name: Arc::clone(&name),
            policy,
            factory,
            orders,
            closing: self.0.closing.clone(),
            stop: watch::Sender::new(None),
            start: watch::Sender::new(None),
            gave_up: self.0.gave_up.clone(),
        });
        let handle = Handle {
            name: Arc::clone(&name),
            start: task.start.subscribe(),
        };
        let living = Arc::clone(&task);
        // The handle is kept, and awaited by `stop`.
        #[expect(clippy::disallowed_methods)]
        let life = tokio::spawn(async move { living.live(received).await });
        let index = tasks.all.len();
        tasks.by_name.insert(name, index);
        let life = Some(life);
        tasks.all.push(Supervised { task, life });
        Ok(handle)
    }

    fn order(&self, name: &str, order: Order) -> Result<(), SpawnError> {
        let unknown = || SpawnError::Unknown(name.into());
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

/// Completes with the value of a channel once it has one.
async fn value_of<T: Clone>(sender: &watch::Sender<Option<T>>) -> T {
    let mut receiver = sender.subscribe();
    let value = receiver.wait_for(Option::is_some).await;
    match value.ok().and_then(|value| (*value).clone()) {
        Some(value) => value,
        // Unreachable: the channel is open.
        None => std::future::pending().await,
    }
}

/// The wall clock; in a test, the one that the test has set.
fn wall_clock() -> SystemTime {
    #[cfg(all(test, feature = "cron"))]
    if let Some(time) = tests::schedules::wall_clock() {
        return time;
    }
    SystemTime::now()
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.statuses()).finish()
    }
}

#[cfg(test)]
mod tests;
