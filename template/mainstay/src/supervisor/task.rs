//! The life of one task: it runs, fails, backs off and runs again, until it is stopped or given up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::context::{Context, Run, Start, caught};
use super::policy::{History, Policy, Restart};
use super::status::{Failure, Shared, State};
use super::value_of;

/// What an operator can do with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Pause,
    Resume,
    Restart,
}

/// How the life of a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stopped,
    /// Its run did not end in time, and was aborted.
    Aborted,
    /// It failed more often than its policy allows.
    GaveUp,
}

pub(super) type Factory = Box<dyn Fn(Context) -> Run + Send + Sync>;

/// A task, shared by the supervisor and the loop that runs it: [`live`](Self::live).
pub(super) struct Task {
    pub(super) name: Arc<str>,
    pub(super) policy: Policy,
    pub(super) factory: Factory,
    pub(super) status: Shared,
    pub(super) orders: mpsc::Sender<Order>,
    /// Cancelled when the stop of all tasks begins: from then on, nothing starts again.
    pub(super) closing: CancellationToken,
    /// The deadline of the stop; `None` until it is this task's turn to stop.
    pub(super) stop: watch::Sender<Option<Instant>>,
    pub(super) start: watch::Sender<Start>,
    /// Receives the name of this task if it is critical and is given up.
    pub(super) gave_up: watch::Sender<Option<Arc<str>>>,
}

/// How one run ended.
enum Ended {
    ByItself(Result<(), Failure>),
    Ordered(Order),
    Stopped(End),
}

/// What follows a wait between two runs.
enum Next {
    Run,
    /// An operator started the task again: its earlier failures no longer count.
    RunAfresh,
    Stop,
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

    /// Runs the task, again and again if its policy says so, until it ends for good.
    pub(super) async fn live(&self, mut orders: mpsc::Receiver<Order>) -> End {
        let end = self.run_until_stopped(&mut orders).await;
        self.report_start_failure("it was stopped");
        let mut status = self.status.lock();
        status.state = if end == End::GaveUp {
            State::GaveUp
        } else {
            State::Stopped
        };
        status.next_run = None;
        end
    }

    async fn run_until_stopped(&self, orders: &mut mpsc::Receiver<Order>) -> End {
        let mut history = History::default();
        while !self.closing.is_cancelled() {
            let began = Instant::now();
            let next = match self.run(orders).await {
                Ended::Stopped(end) => return end,
                Ended::Ordered(Order::Pause) => self.wait(State::Paused, None, orders).await,
                Ended::Ordered(_) => Next::Run,
                Ended::ByItself(result) => {
                    let failed = result.is_err();
                    self.record(result);
                    let restarts = match self.policy.restart {
                        Restart::Always => true,
                        Restart::OnFailure => failed,
                        Restart::Never => false,
                    };
                    if !restarts || self.closing.is_cancelled() {
                        return End::Stopped;
                    }
                    if let Some(pause) = history.next(&self.policy, began.elapsed()) {
                        self.status.lock().restarts += 1;
                        let until = Some(Instant::now() + pause);
                        self.wait(State::BackingOff, until, orders).await
                    } else {
                        match self.give_up(orders).await {
                            Next::Stop => return End::GaveUp,
                            next => next,
                        }
                    }
                }
            };
            match next {
                Next::Run => {}
                Next::RunAfresh => history = History::default(),
                Next::Stop => return End::Stopped,
            }
        }
        End::Stopped
    }

    /// Gives the task up: only an operator can start it again. If it is critical, the service stops.
    async fn give_up(&self, orders: &mut mpsc::Receiver<Order>) -> Next {
        let critical = self.policy.critical;
        tracing::error!(task = &*self.name, critical, "task given up");
        if critical {
            self.gave_up.send_replace(Some(Arc::clone(&self.name)));
        }
        self.wait(State::GaveUp, None, orders).await
    }

    /// Starts one run, and waits for its end.
    async fn run(&self, orders: &mut mpsc::Receiver<Order>) -> Ended {
        let cancelled = CancellationToken::new();
        let beat = watch::Sender::new(Instant::now());
        let context = Context {
            name: Arc::clone(&self.name),
            cancelled: cancelled.clone(),
            beat: beat.clone(),
            start: self.start.clone(),
            status: self.status.clone(),
        };
        self.status.run_begins();
        // The handle is kept, and awaited or aborted before this function returns.
        #[expect(clippy::disallowed_methods)]
        let mut run = tokio::spawn(caught((self.factory)(context)));
        loop {
            tokio::select! {
                biased;
                ended = &mut run => return Ended::ByItself(joined(ended)),
                _ = value_of(&self.stop) => {
                    cancelled.cancel();
                    return Ended::Stopped(self.end(run).await);
                }
                Some(order) = orders.recv() => {
                    if order == Order::Resume {
                        continue;
                    }
                    cancelled.cancel();
                    let end = self.end(run).await;
                    // The stop may have come in the meantime.
                    let stopped = self.stop.borrow().is_some();
                    return if stopped { Ended::Stopped(end) } else { Ended::Ordered(order) };
                }
                limit = missed(&beat, self.policy.heartbeat) => {
                    cancelled.cancel();
                    run.abort();
                    _ = run.await;
                    let failure = format!("no heartbeat for {}", humantime::format_duration(limit));
                    return Ended::ByItself(Err(failure));
                }
            }
        }
    }

    /// Waits for a cancelled run to end, and aborts it when its time is up.
    async fn end(&self, mut run: JoinHandle<Result<(), Failure>>) -> End {
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            () = self.time_is_up() => {
                run.abort();
                // Wait, so that the run drops what it holds before the next task stops; but not for ever,
                // since a run that blocks its thread does not end.
                _ = timeout(ABORT_TIMEOUT, run).await;
                return End::Aborted;
            }
        };
        if let Err(failure) = joined(ended) {
            self.status.failed(failure);
        }
        End::Stopped
    }

    /// Completes after the stop timeout, or at the deadline of a stop, even if the stop begins during the wait.
    async fn time_is_up(&self) {
        let deadline = async { sleep_until(value_of(&self.stop).await).await };
        _ = timeout(self.policy.stop_within, deadline).await;
    }

    /// Waits between two runs, until the backoff ends, an operator acts, or the stop begins.
    async fn wait(
        &self,
        mut state: State,
        mut until: Option<Instant>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Next {
        loop {
            self.status.waits(state, until);
            let pause = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return Next::Stop,
                Some(order) = orders.recv() => match (order, state) {
                    (Order::Restart, _) | (Order::Resume, State::Paused) => return Next::RunAfresh,
                    (Order::Pause, State::BackingOff) => (state, until) = (State::Paused, None),
                    (Order::Pause | Order::Resume, _) => {}
                },
                () = pause => return Next::Run,
            }
        }
    }

    fn record(&self, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.report_start_failure("it ended"),
            Err(failure) => {
                self.report_start_failure(&failure);
                self.status.failed(failure);
            }
        }
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

/// How long to wait for an aborted run. It ends at its next await, which a run that blocks may never reach.
pub(super) const ABORT_TIMEOUT: Duration = Duration::from_millis(100);

fn joined(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    // The run catches its panics. The other causes are an abort and the end of the runtime.
    ended.unwrap_or_else(|error| Err(error.to_string()))
}

/// Completes when the last beat is longer ago than the limit. Returns the limit.
async fn missed(beat: &watch::Sender<Instant>, limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    loop {
        let due = *beat.borrow() + limit;
        sleep_until(due).await;
        if *beat.borrow() + limit <= Instant::now() {
            return limit;
        }
    }
}
