//! The supervisor: it restarts tasks that fail, and stops them in order.
//!
//! - A task that fails, by an error or a panic, is restarted after an exponential backoff with jitter. Other
//!   tasks are not affected.
//! - A task that fails too often is given up. If it is critical, the process stops.
//! - A stop cancels the tasks in the reverse order of their registration, one after the other. A task that
//!   does not end in time is aborted, and named.
//! - Once the stop has begun, no task starts or restarts.
//!
//! Work of a task that the start of the service must wait for, such as a first connection, comes before the
//! task is started. The policies are those of Erlang's supervisors and Go's suture.

mod one_shot;
mod periodic;
mod policy;
mod status;
mod task;

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, SetOnce, mpsc};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(feature = "cron")]
pub use croner::Cron;

pub use periodic::Periodic;
pub use policy::Restart;
pub use status::{State, Status};
pub use task::{Context, Order, Outcome};

use periodic::Due;
use policy::{History, Policy};
use task::{Factory, Runner, Task};

use crate::panics::lock;

/// Runs the tasks of a process. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    tasks: Arc<Mutex<Tasks>>,
    /// Cancelled when the stop begins.
    closing: CancellationToken,
    one_shots: TaskTracker,
    critical_failure: Arc<SetOnce<Arc<str>>>,
}

/// All tasks, in the order of their registration.
#[derive(Debug, Default)]
struct Tasks {
    names: HashSet<Arc<str>>,
    all: Vec<Arc<Task>>,
    runners: Vec<(Arc<Task>, JoinHandle<bool>)>,
    /// Those that run, and some that have ended.
    one_shots: Vec<(&'static str, AbortHandle)>,
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
        let at = Instant::now();
        // Without a pause, the loop would not let other tasks run.
        let interval = interval.max(Duration::from_millis(1));
        Periodic::new(self.task(name), Due::Tick { at, interval })
    }

    /// Describes a task that runs at the times of a cron expression, in UTC, so that no hour is skipped or repeated.
    #[cfg(feature = "cron")]
    pub fn at(&self, name: &str, cron: Cron) -> Periodic {
        let (at, cron) = (periodic::wall_clock(), Arc::new(cron));
        Periodic::new(self.task(name), Due::Scheduled { at, cron })
    }

    /// The status of each task, in the order of their registration.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let tasks = lock(&self.tasks);
        tasks
            .all
            .iter()
            .map(|task| lock(&task.status).clone())
            .collect()
    }

    /// The names of what still runs: tasks in the order of the stop, then work that runs once.
    pub(crate) fn alive(&self) -> Vec<String> {
        let tasks = lock(&self.tasks);
        // A runner drops the receiver of its orders when it ends.
        let alive = tasks.all.iter().rev().filter(|it| !it.orders.is_closed());
        let names = alive.map(|task| task.name.to_string());
        names.chain(tasks.running_one_shots()).collect()
    }

    /// Completes with the name of a critical task that was given up.
    pub(crate) async fn critical_failure(&self) -> Arc<str> {
        self.critical_failure.wait().await.clone()
    }

    /// Sends an order of the operator to a task, and does not wait until it is carried out.
    pub fn order(&self, name: &str, order: Order) -> Result<(), SpawnError> {
        let tasks = lock(&self.tasks);
        let task = tasks.all.iter().find(|task| *task.name == *name);
        if task.is_none_or(|task| task.orders.try_send(order).is_err()) {
            return Err(SpawnError::Unknown(name.into()));
        }
        tracing::info!(task = name, ?order, "the operator sent an order");
        Ok(())
    }

    /// Stops all tasks within this time, and returns the names of those that were aborted.
    pub async fn stop(&self, within: Duration) -> Vec<String> {
        self.closing.cancel();
        let deadline = Instant::now() + within;
        let runners = mem::take(&mut lock(&self.tasks).runners);
        let stop_tasks = async {
            let mut aborted = Vec::new();
            for (task, runner) in runners.into_iter().rev() {
                _ = task.stop.set(deadline);
                if let Ok(false) = runner.await {
                    tracing::warn!(task = &*task.name, "task aborted");
                    aborted.push(task.name.to_string());
                }
            }
            aborted
        };
        let (tasks, one_shots) = tokio::join!(stop_tasks, self.stop_one_shots(deadline));
        [tasks, one_shots].concat()
    }

    fn start(&self, name: Arc<str>, policy: Policy, factory: Factory) -> Result<(), SpawnError> {
        let mut tasks = lock(&self.tasks);
        if self.closing.is_cancelled() {
            return Err(SpawnError::Stopping(name));
        }
        if !tasks.names.insert(Arc::clone(&name)) {
            return Err(SpawnError::NameTaken(name));
        }
        let (orders, received) = mpsc::channel(4);
        let task = Arc::new(Task {
            status: Mutex::new(Status {
                name: Arc::clone(&name),
                critical: policy.critical,
                ..Status::default()
            }),
            name,
            policy,
            orders,
            beat: Notify::new(),
            stop: SetOnce::new(),
        });
        let runner = Runner {
            supervisor: self.clone(),
            task: Arc::clone(&task),
            factory,
            orders: received,
            history: History::default(),
        };
        #[expect(clippy::disallowed_methods, reason = "`stop` awaits it")]
        let runner = tokio::spawn(runner.run());
        tasks.runners.push((Arc::clone(&task), runner));
        tasks.all.push(task);
        Ok(())
    }
}

/// Describes a task. Each method changes one default of its policy.
#[must_use = "a task is started by `run`"]
#[derive(Debug, Clone)]
pub struct Builder {
    supervisor: Supervisor,
    name: Arc<str>,
    policy: Policy,
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
    pub fn run<M, F>(self, make: M) -> Result<(), SpawnError>
    where
        M: Fn(Context) -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let factory = task::factory(make);
        self.supervisor.start(self.name, self.policy, factory)
    }
}

#[cfg(test)]
mod tests;
