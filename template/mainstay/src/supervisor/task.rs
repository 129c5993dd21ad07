//! The life of one task: it runs, fails, backs off and runs again, until it is stopped or given up.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::context::{Context, Failure, Run};
use super::policy::{History, Policy, Restart};
use super::status::{State, Status};
use super::value_of;

/// What an operator can do with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Stops the task until it is resumed.
    Pause,
    /// Starts a paused task again.
    Resume,
    /// Restarts the task at once, also if it backs off, is paused, or was given up.
    Restart,
}

pub(super) type Factory = Box<dyn Fn(Context) -> Run + Send + Sync>;

/// A task, shared by the supervisor, its runs, and the loop that starts them: [`live`](Self::live).
pub(super) struct Task {
    pub(super) name: Arc<str>,
    pub(super) policy: Policy,
    pub(super) factory: Factory,
    pub(super) status: Mutex<Status>,
    pub(super) orders: mpsc::Sender<Order>,
    /// Cancelled when the stop of all tasks begins: from then on, nothing starts again.
    pub(super) closing: CancellationToken,
    /// The deadline of the stop; `None` until it is this task's turn to stop.
    pub(super) stop: watch::Sender<Option<Instant>>,
    /// The result of the start; `None` until it is known.
    pub(super) start: watch::Sender<Option<Result<(), Failure>>>,
    /// Receives the name of this task if it is critical and is given up.
    pub(super) gave_up: watch::Sender<Option<Arc<str>>>,
}

/// What the life of a task owns.
struct Life {
    orders: mpsc::Receiver<Order>,
    history: History,
}

/// How one run ended.
enum Ended {
    Ok,
    Failed,
    Ordered(Order),
    Stopped(Stop),
}

/// How the stop of a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    InTime,
    Aborted,
}

impl Task {
    /// Cancels the task, and aborts it after its stop timeout or at `deadline`, whichever is earlier.
    pub(super) fn stop_by(&self, deadline: Instant) {
        self.stop.send_replace(Some(deadline));
    }

    /// Whether `live` has not returned yet. A run that blocks its thread may continue after `live` returns.
    pub(super) fn is_alive(&self) -> bool {
        // `live` owns the receiver, and drops it when it returns.
        !self.orders.is_closed()
    }

    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the task, again and again if its policy says so, until it ends for good.
    pub(super) async fn live(self: &Arc<Self>, orders: mpsc::Receiver<Order>) -> Stop {
        let history = History::default();
        let stop = self.run_until_stopped(&mut Life { orders, history }).await;
        self.report_start_failure("it was stopped");
        let mut status = self.status();
        if status.state != State::GaveUp {
            status.state = State::Stopped;
        }
        status.next_run = None;
        stop
    }

    async fn run_until_stopped(self: &Arc<Self>, life: &mut Life) -> Stop {
        while !self.closing.is_cancelled() {
            let began = Instant::now();
            let ended = self.run(life).await;
            let is_restarted = match (&ended, self.policy.restart) {
                (Ended::Stopped(stop), _) => return *stop,
                (Ended::Ordered(Order::Pause), _) => {
                    self.wait(State::Paused, None, life).await;
                    continue;
                }
                (Ended::Ordered(_), _) => continue,
                (_, Restart::Always) | (Ended::Failed, Restart::OnFailure) => true,
                (Ended::Ok, Restart::OnFailure) | (_, Restart::Never) => false,
            };
            if !is_restarted || self.closing.is_cancelled() {
                return Stop::InTime;
            }
            if let Some(pause) = life.history.next(&self.policy, began.elapsed()) {
                self.status().restarts += 1;
                let until = Some(Instant::now() + pause);
                self.wait(State::BackingOff, until, life).await;
            } else {
                let critical = self.policy.critical;
                tracing::error!(task = &*self.name, critical, "task given up");
                if critical {
                    self.gave_up.send_replace(Some(Arc::clone(&self.name)));
                }
                self.wait(State::GaveUp, None, life).await;
            }
        }
        Stop::InTime
    }

    /// Starts one run, and waits for its end.
    async fn run(self: &Arc<Self>, life: &mut Life) -> Ended {
        let cancelled = CancellationToken::new();
        let beat = watch::Sender::new(Instant::now());
        let context = Context {
            task: Arc::clone(self),
            cancelled: cancelled.clone(),
            beat: beat.clone(),
        };
        self.status().run_begins();
        // The handle is kept, and awaited or aborted before this function returns.
        #[expect(clippy::disallowed_methods)]
        let mut run = tokio::spawn((self.factory)(context));
        let mut is_stuck = false;
        let order = loop {
            tokio::select! {
                biased;
                ended = &mut run => return match joined(ended) {
                    // It was aborted, and has its failure.
                    _ if is_stuck => Ended::Failed,
                    Some(failure) => self.failed(failure),
                    None => {
                        self.report_start_failure("it ended");
                        Ended::Ok
                    }
                },
                _ = value_of(&self.stop) => break None,
                Some(order) = life.orders.recv() => if order != Order::Resume {
                    break Some(order);
                },
                limit = missed(&beat, self.policy.heartbeat), if !is_stuck => {
                    let limit = humantime::format_duration(limit);
                    self.failed(format!("no heartbeat for {limit}"));
                    // A run that blocks its thread does not end. The stop must not wait for that.
                    run.abort();
                    is_stuck = true;
                }
            }
        };
        cancelled.cancel();
        let stop = self.end(run).await;
        match order {
            // The stop may have come in the meantime.
            Some(order) if self.stop.borrow().is_none() => Ended::Ordered(order),
            _ => Ended::Stopped(stop),
        }
    }

    /// Waits for a cancelled run to end, and aborts it when its time is up.
    async fn end(&self, mut run: JoinHandle<Option<Failure>>) -> Stop {
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            () = self.time_is_up() => {
                run.abort();
                // Wait, so that the run drops what it holds before the next task stops; but not for ever,
                // since a run that blocks its thread does not end.
                _ = timeout(ABORT_TIMEOUT, run).await;
                return Stop::Aborted;
            }
        };
        if let Some(failure) = joined(ended) {
            self.failed(failure);
        }
        Stop::InTime
    }

    /// Completes after the stop timeout, or at the deadline of a stop, even if the stop begins during the wait.
    async fn time_is_up(&self) {
        let deadline = async { sleep_until(value_of(&self.stop).await).await };
        _ = timeout(self.policy.stop_within, deadline).await;
    }

    /// Waits between two runs, until the backoff ends, an operator acts, or the stop begins. If an operator
    /// starts the task again, its earlier failures no longer count.
    async fn wait(&self, mut state: State, mut until: Option<Instant>, life: &mut Life) {
        loop {
            {
                let mut status = self.status();
                status.state = state;
                status.next_run = until.map(|it| SystemTime::now() + (it - Instant::now()));
            }
            let pause = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                Some(order) = life.orders.recv() => match (order, state) {
                    (Order::Restart, _) | (Order::Resume, State::Paused) => {
                        life.history = History::default();
                        return;
                    }
                    (Order::Pause, State::BackingOff) => (state, until) = (State::Paused, None),
                    (Order::Pause | Order::Resume, _) => {}
                },
                () = pause => return,
            }
        }
    }

    /// Logs and records a failure.
    fn failed(&self, failure: Failure) -> Ended {
        tracing::warn!(task = &*self.name, error = failure, "task failed");
        self.report_start_failure(&failure);
        self.status().failed(failure);
        Ended::Failed
    }

    /// Reports a failed start, unless the result of the start was reported before.
    fn report_start_failure(&self, cause: &str) {
        self.start.send_if_modified(|start| {
            let is_pending = start.is_none();
            start.get_or_insert_with(|| Err(cause.to_owned()));
            is_pending
        });
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status().fmt(f)
    }
}

/// How long to wait for an aborted run. It ends at its next await, which a run that blocks may never reach.
pub(super) const ABORT_TIMEOUT: Duration = Duration::from_millis(100);

fn joined(ended: Result<Option<Failure>, JoinError>) -> Option<Failure> {
    // The run catches its panics. The other causes are an abort and the end of the runtime.
    ended.unwrap_or_else(|error| Some(error.to_string()))
}

/// Completes when the last beat is longer ago than the limit. Returns the limit.
async fn missed(beat: &watch::Sender<Instant>, limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    loop {
        let due = *beat.borrow() + limit;
        if due <= Instant::now() {
            return limit;
        }
        sleep_until(due).await;
    }
}
