//! The life of one task: it runs, fails, backs off and runs again, until it is stopped or given up.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{SetOnce, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::policy::{History, Policy, Restart};
use super::status::{State, Status};
use crate::panics;

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

/// A task, shared by the supervisor, its runs, and the loop that starts them: [`live`](Self::live).
#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: Arc<str>,
    pub(super) policy: Policy,
    pub(super) status: Mutex<Status>,
    pub(super) orders: mpsc::Sender<Order>,
    /// Cancelled when the stop of all tasks begins: from then on, nothing starts again.
    pub(super) closing: CancellationToken,
    /// The deadline of the stop, once it is this task's turn to stop.
    pub(super) stop: SetOnce<Instant>,
    /// The result of the start.
    pub(super) start: SetOnce<Result<(), Failure>>,
    /// Receives the name of this task if it is critical and is given up.
    pub(super) gave_up: Arc<SetOnce<Arc<str>>>,
}

/// What the life of a task owns.
struct Life {
    factory: Factory,
    orders: mpsc::Receiver<Order>,
    history: History,
}

/// How one run ended.
enum Ended {
    Ok,
    Failed,
    Ordered(Order),
    Stopped { in_time: bool },
}

impl Task {
    /// Whether `live` has not returned yet. A run that blocks its thread may continue after `live` returns.
    pub(super) fn is_alive(&self) -> bool {
        // `live` owns the receiver, and drops it when it returns.
        !self.orders.is_closed()
    }

    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the task, again and again if its policy says so, until it ends for good. Returns whether it did so in
    /// time; otherwise it was aborted.
    pub(super) async fn live(
        self: Arc<Self>,
        factory: Factory,
        orders: mpsc::Receiver<Order>,
    ) -> bool {
        let mut life = Life {
            factory,
            orders,
            history: History::default(),
        };
        let in_time = self.run_until_stopped(&mut life).await;
        _ = self.start.set(Err("it was stopped".to_owned()));
        let mut status = self.status();
        if status.state != State::GaveUp {
            status.state = State::Stopped;
        }
        status.next_run = None;
        in_time
    }

    async fn run_until_stopped(self: &Arc<Self>, life: &mut Life) -> bool {
        while !self.closing.is_cancelled() {
            let began = Instant::now();
            let is_restarted = match self.run(life).await {
                Ended::Stopped { in_time } => return in_time,
                Ended::Ordered(Order::Pause) => {
                    self.wait(State::Paused, None, life).await;
                    continue;
                }
                Ended::Ordered(_) => continue,
                Ended::Failed => self.policy.restart != Restart::Never,
                Ended::Ok => self.policy.restart == Restart::Always,
            };
            if !is_restarted || self.closing.is_cancelled() {
                return true;
            }
            if let Some(pause) = life.history.next(&self.policy, began.elapsed()) {
                self.status().restarts += 1;
                let until = Some(Instant::now() + pause);
                self.wait(State::BackingOff, until, life).await;
            } else {
                let critical = self.policy.critical;
                tracing::error!(task = &*self.name, critical, "task given up");
                if critical {
                    _ = self.gave_up.set(Arc::clone(&self.name));
                }
                self.wait(State::GaveUp, None, life).await;
            }
        }
        true
    }

    /// Starts one run, and waits for its end.
    async fn run(self: &Arc<Self>, life: &mut Life) -> Ended {
        let cancelled = CancellationToken::new();
        let beats = watch::Sender::default();
        let context = Context {
            task: Arc::clone(self),
            cancelled: cancelled.clone(),
            beats: beats.clone(),
        };
        self.status().run_begins();
        // The handle is kept, and awaited or aborted before this function returns.
        #[expect(clippy::disallowed_methods)]
        let mut run = tokio::spawn((life.factory)(context));
        let mut is_stuck = false;
        let order = loop {
            tokio::select! {
                biased;
                ended = &mut run => return match joined(ended) {
                    // The failure is recorded already: the missed heartbeat.
                    _ if is_stuck => Ended::Failed,
                    Some(failure) => self.failed(failure),
                    None => {
                        _ = self.start.set(Err("it ended".to_owned()));
                        Ended::Ok
                    }
                },
                _ = self.stop.wait() => break None,
                Some(order) = life.orders.recv() => if order != Order::Resume {
                    break Some(order);
                },
                limit = missed(&beats, self.policy.heartbeat), if !is_stuck => {
                    let limit = humantime::format_duration(limit);
                    self.failed(format!("no heartbeat for {limit}"));
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
            Some(order) if !self.stop.initialized() => Ended::Ordered(order),
            _ => Ended::Stopped { in_time },
        }
    }

    /// Waits for a cancelled run to end, and aborts it when its time is up. Returns whether it ended in time.
    async fn end(&self, mut run: JoinHandle<Option<Failure>>) -> bool {
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            () = self.time_is_up() => {
                run.abort();
                // Wait, so that the run drops what it holds before the next task stops; but not for ever,
                // since a run that blocks its thread does not end.
                _ = timeout(ABORT_TIMEOUT, run).await;
                return false;
            }
        };
        if let Some(failure) = joined(ended) {
            self.failed(failure);
        }
        true
    }

    /// Completes after the stop timeout of the task or at the deadline of the supervisor's stop, whichever comes first.
    async fn time_is_up(&self) {
        let deadline = async { sleep_until(*self.stop.wait().await).await };
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
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return,
            }
        }
    }

    /// Logs and records a failure.
    fn failed(&self, failure: Failure) -> Ended {
        tracing::warn!(task = &*self.name, error = failure, "task failed");
        _ = self.start.set(Err(failure.clone()));
        self.status().failed(failure);
        Ended::Failed
    }
}

/// How long to wait for an aborted run. It ends at its next await, which a run that blocks may never reach.
pub(super) const ABORT_TIMEOUT: Duration = Duration::from_millis(100);

fn joined(ended: Result<Option<Failure>, JoinError>) -> Option<Failure> {
    // The run catches its panics. The other causes are an abort and the end of the runtime.
    ended.unwrap_or_else(|error| Some(error.to_string()))
}

/// Completes when no beat has come for as long as the limit. Returns the limit.
async fn missed(beats: &watch::Sender<()>, limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    let mut beats = beats.subscribe();
    while timeout(limit, beats.changed()).await.is_ok() {}
    limit
}

/// Given to a task for one run.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) task: Arc<Task>,
    pub(super) cancelled: CancellationToken,
    pub(super) beats: watch::Sender<()>,
}

impl Context {
    /// The name of the task.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.task.name
    }

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
        self.beats.send_replace(());
        self.task.status().last_beat = Some(SystemTime::now());
    }

    /// Reports that the task is ready, for [`Handle::started`](super::Handle::started).
    pub fn started(&self) {
        _ = self.task.start.set(Ok(()));
    }
}

/// Why a run failed: the message of an error or a panic.
pub(super) type Failure = String;

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

/// One run of a task.
pub(super) type Run = BoxFuture<'static, Option<Failure>>;

pub(super) type Factory = Arc<dyn Fn(Context) -> Run + Send + Sync>;

/// Makes runs that call `make` when they are first polled. A panic is a failure, also one in `make`.
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
