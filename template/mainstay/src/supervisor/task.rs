//! The life of one task: it runs, fails, backs off and runs again, until it is stopped or given up.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, SetOnce, mpsc};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Supervisor;
use super::policy::{History, Policy, Restart};
use super::status::{State, Status};
use crate::panics::{self, lock};

/// What an operator can do with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Stops the task until it is resumed.
    Pause,
    /// Starts a paused task again.
    Resume,
    /// Cancels the current run, if there is one, and starts a new one without backoff, also if the task is paused or was
    /// given up.
    Restart,
}

/// A task, shared by the supervisor, its runs, and its [`Runner`].
#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: Arc<str>,
    pub(super) policy: Policy,
    pub(super) status: Mutex<Status>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) beat: Notify,
    /// The deadline of the stop, once it is this task's turn to stop.
    pub(super) stop: SetOnce<Instant>,
}

impl Task {
    fn failed(&self, failure: String) {
        tracing::warn!(task = &*self.name, error = failure, "task failed");
        lock(&self.status).failed(failure);
    }

    /// Records the failure of a run that has ended. Returns whether it failed.
    fn ended(&self, ended: Result<Option<String>, JoinError>) -> bool {
        // The run catches its panics. The other causes are an abort and the end of the runtime.
        let failure = ended.unwrap_or_else(|error| Some(error.to_string()));
        failure.map(|failure| self.failed(failure)).is_some()
    }

    /// Completes when no heartbeat has come for as long as the policy allows. Returns that time.
    async fn missed_heartbeat(&self) -> Duration {
        let Some(limit) = self.policy.heartbeat else {
            return std::future::pending().await;
        };
        while timeout(limit, self.beat.notified()).await.is_ok() {}
        limit
    }
}

/// Runs a task, again and again if its policy says so.
pub(super) struct Runner {
    pub(super) supervisor: Supervisor,
    pub(super) task: Arc<Task>,
    pub(super) factory: Factory,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) history: History,
}

enum RunEnd {
    Ended { failed: bool },
    Ordered(Order),
    Stopped { in_time: bool },
}

impl Runner {
    /// Returns whether the task ended in time; otherwise it was aborted.
    pub(super) async fn run(mut self) -> bool {
        let in_time = self.run_until_stopped().await;
        let mut status = lock(&self.task.status);
        if status.state != State::GaveUp {
            status.state = State::Stopped;
        }
        status.next_run = None;
        in_time
    }

    async fn run_until_stopped(&mut self) -> bool {
        let (supervisor, task) = (self.supervisor.clone(), Arc::clone(&self.task));
        while !supervisor.closing.is_cancelled() {
            let began = Instant::now();
            let is_restarted = match self.run_once().await {
                RunEnd::Stopped { in_time } => return in_time,
                RunEnd::Ordered(order) => {
                    self.history = History::default();
                    if order == Order::Pause {
                        self.wait(State::Paused, None).await;
                    }
                    continue;
                }
                RunEnd::Ended { failed } => match task.policy.restart {
                    Restart::Always => true,
                    Restart::OnFailure => failed,
                    Restart::Never => false,
                },
            };
            if !is_restarted || supervisor.closing.is_cancelled() {
                return true;
            }
            if let Some(pause) = self.history.next(&task.policy, began.elapsed()) {
                lock(&task.status).restarts += 1;
                let until = Some(Instant::now() + pause);
                self.wait(State::BackingOff, until).await;
            } else {
                let critical = task.policy.critical;
                tracing::error!(task = &*task.name, critical, "task given up");
                if critical {
                    _ = supervisor.critical_failure.set(Arc::clone(&task.name));
                }
                self.wait(State::GaveUp, None).await;
            }
        }
        true
    }

    async fn run_once(&mut self) -> RunEnd {
        let task = &self.task;
        let cancelled = CancellationToken::new();
        let context = Context {
            task: Arc::clone(task),
            cancelled: cancelled.clone(),
        };
        lock(&task.status).run_begins();
        #[expect(clippy::disallowed_methods, reason = "awaited or aborted below")]
        let mut run = tokio::spawn((self.factory)(context));
        let mut is_stuck = false;
        let order = loop {
            tokio::select! {
                biased;
                // The missed heartbeat is recorded already.
                ended = &mut run => return RunEnd::Ended {
                    failed: is_stuck || task.ended(ended),
                },
                _ = task.stop.wait() => break None,
                Some(order) = self.orders.recv() => if order != Order::Resume {
                    break Some(order);
                },
                limit = task.missed_heartbeat(), if !is_stuck => {
                    let limit = humantime::format_duration(limit);
                    task.failed(format!("no heartbeat for {limit}"));
                    // A run that blocks its thread does not end. The stop must not wait for that.
                    run.abort();
                    is_stuck = true;
                }
            }
        };
        cancelled.cancel();
        let in_time = self.end(run).await;
        match order {
            // The stop may have come in the meantime.
            Some(order) if !self.task.stop.initialized() => RunEnd::Ordered(order),
            _ => RunEnd::Stopped { in_time },
        }
    }

    /// Waits for a cancelled run to end, and aborts it when its time is up. Returns whether it ended in time.
    async fn end(&self, mut run: JoinHandle<Option<String>>) -> bool {
        let deadline = async { sleep_until(*self.task.stop.wait().await).await };
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            _ = timeout(self.task.policy.stop_within, deadline) => {
                run.abort();
                // Wait, so that the run drops what it holds before the next task stops; but not for ever,
                // since a run that blocks its thread does not end.
                _ = timeout(ABORT_TIMEOUT, run).await;
                return false;
            }
        };
        self.task.ended(ended);
        true
    }

    /// Waits between two runs, until the backoff ends, an operator acts, or the stop begins. If an operator
    /// starts the task again, its earlier failures no longer count.
    async fn wait(&mut self, mut state: State, mut until: Option<Instant>) {
        loop {
            {
                let mut status = lock(&self.task.status);
                status.state = state;
                status.next_run = until.map(|it| SystemTime::now() + (it - Instant::now()));
            }
            tokio::select! {
                biased;
                () = self.supervisor.closing.cancelled() => return,
                Some(order) = self.orders.recv() => match (order, state) {
                    (Order::Restart, _) | (Order::Resume, State::Paused) => {
                        self.history = History::default();
                        return;
                    }
                    (Order::Pause, State::BackingOff) => (state, until) = (State::Paused, None),
                    (Order::Pause | Order::Resume, _) => {}
                },
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return,
            }
        }
    }
}

/// How long to wait for an aborted run. It ends at its next await, which a run that blocks may never reach.
pub(super) const ABORT_TIMEOUT: Duration = Duration::from_millis(100);

/// Given to a task for one run.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) task: Arc<Task>,
    pub(super) cancelled: CancellationToken,
}

impl Context {
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
        self.task.beat.notify_one();
        lock(&self.task.status).last_beat = Some(SystemTime::now());
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

pub(super) type Factory = Arc<dyn Fn(Context) -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// A panic is a failure, also one in `make`, which is called when the run is first polled.
pub(super) fn factory<M, F>(make: M) -> Factory
where
    M: Fn(Context) -> F + Send + Sync + 'static,
    F: Future<Output: Outcome> + Send + 'static,
{
    let make = Arc::new(make);
    Arc::new(move |context| {
        let make = Arc::clone(&make);
        let run = async move { make(context).await.into_failure() };
        let ended = panics::caught(run).map(|ended| ended.unwrap_or_else(Some));
        ended.boxed()
    })
}
