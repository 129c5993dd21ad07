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
mod one_shot;
mod periodic;
mod policy;
#[cfg(feature = "cron")]
mod schedule;
mod status;
mod task;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{SetOnce, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use builder::{Builder, Handle};

pub use periodic::Periodic;
pub use policy::Restart;
#[cfg(feature = "cron")]
pub use schedule::{Schedule, ScheduleError};
pub use status::{State, Status};
pub use task::{Context, Order, Outcome};

use one_shot::OneShots;
use periodic::Due;
use policy::Policy;
use task::{Factory, Task};

/// Runs the tasks of a process. All clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    tasks: Arc<Mutex<Tasks>>,
    one_shots: OneShots,
    /// Cancelled when the stop begins.
    closing: CancellationToken,
    /// The first critical task that was given up.
    gave_up: Arc<SetOnce<Arc<str>>>,
}

#[derive(Debug, Default)]
struct Tasks {
    names: HashSet<Arc<str>>,
    /// In the order of their registration.
    all: Vec<Arc<Task>>,
    /// What the stop waits for, in the same order. The stop takes them.
    lives: Vec<JoinHandle<bool>>,
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
        Builder {
            supervisor: self.clone(),
            name: name.into(),
            policy: Policy::default(),
        }
    }

    /// Describes a task that runs once per interval.
    pub fn every(&self, name: &str, interval: Duration) -> Periodic {
        Periodic::new(self.task(name), Due::every(interval))
    }

    /// Describes a task that runs at the times of a schedule.
    #[cfg(feature = "cron")]
    pub fn at(&self, name: &str, schedule: &Schedule) -> Periodic {
        let due = Due::Scheduled {
            at: periodic::wall_clock(),
            schedule: schedule.clone(),
        };
        Periodic::new(self.task(name), due)
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
        self.one_shots.spawn(name, work, &self.closing)
    }

    /// The status of each task, in the order of their registration.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let tasks = self.tasks();
        tasks.all.iter().map(|task| task.status().clone()).collect()
    }

    /// The names of what still runs: tasks in the order of the stop, then work that runs once.
    pub(crate) fn alive(&self) -> Vec<String> {
        let tasks = self.tasks();
        let alive = tasks.all.iter().rev().filter(|task| task.is_alive());
        let names = alive.map(|task| task.name.to_string());
        names.chain(self.one_shots.alive()).collect()
    }

    /// Completes with the name of a critical task that was given up.
    pub(crate) async fn gave_up(&self) -> Arc<str> {
        self.gave_up.wait().await.clone()
    }

    /// Gives a task an order of the operator. It is carried out soon.
    ///
    /// # Errors
    ///
    /// If there is no running task of this name.
    pub fn order(&self, name: &str, order: Order) -> Result<(), SpawnError> {
        let tasks = self.tasks();
        let task = tasks.all.iter().find(|task| *task.name == *name);
        if task.is_none_or(|task| task.orders.try_send(order).is_err()) {
            return Err(SpawnError::Unknown(name.into()));
        }
        tracing::info!(task = name, order = ?order, "operator");
        Ok(())
    }

    /// Stops all tasks within this time, and returns the names of those that were aborted.
    pub async fn stop(&self, within: Duration) -> Vec<String> {
        self.closing.cancel();
        let deadline = Instant::now() + within;
        let tasks = self.stop_tasks(deadline);
        let (tasks, one_shots) = tokio::join!(tasks, self.one_shots.stop(deadline));
        [tasks, one_shots].concat()
    }

    async fn stop_tasks(&self, deadline: Instant) -> Vec<String> {
        let (tasks, lives) = {
            let mut tasks = self.tasks();
            (tasks.all.clone(), std::mem::take(&mut tasks.lives))
        };
        let mut left = Vec::new();
        for (task, life) in tasks.iter().zip(lives).rev() {
            _ = task.stop.set(deadline);
            if let Ok(false) = life.await {
                tracing::warn!(task = &*task.name, "task aborted");
                left.push(task.name.to_string());
            }
        }
        left
    }

    fn start(
        &self,
        name: Arc<str>,
        policy: Policy,
        factory: Factory,
    ) -> Result<Arc<Task>, SpawnError> {
        let mut tasks = self.tasks();
        if self.closing.is_cancelled() {
            return Err(SpawnError::Stopping(name));
        }
        if !tasks.names.insert(Arc::clone(&name)) {
            return Err(SpawnError::NameTaken(name));
        }
        let (orders, received) = mpsc::channel(4);
        let status = Status {
            name: Arc::clone(&name),
            critical: policy.critical,
            ..Status::default()
        };
        let task = Arc::new(Task {
            status: status.into(),
            name,
            policy,
            orders,
            closing: self.closing.clone(),
            stop: SetOnce::new(),
            start: SetOnce::new(),
            gave_up: Arc::clone(&self.gave_up),
        });
        // The handle is kept, and awaited by `stop`.
        #[expect(clippy::disallowed_methods)]
        let life = tokio::spawn(Arc::clone(&task).live(factory, received));
        tasks.lives.push(life);
        tasks.all.push(Arc::clone(&task));
        Ok(task)
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
