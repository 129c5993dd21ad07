//! The life of one task: run, fail, pause, run again, until it is told to stop or given up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::group::{Member, Place};
use super::outcome::Failure;
use super::policy::{History, Policy, Restart};
use super::run::{Run, caught};
use super::status::{Shared, State};

/// What an operator can ask of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Pause,
    Resume,
    Restart,
}

/// How the life of a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, or when told.
    Done,
    /// With an error, when told.
    Failed(Failure),
    /// It went on after its stop timeout, and was aborted.
    Aborted,
    /// It failed more often than its policy allows.
    GaveUp,
}

pub(super) type Factory = Box<dyn Fn(Context) -> Run + Send + Sync>;

/// A task, for its supervisor and for those who ask about it.
pub(super) struct Task {
    pub(super) name: Arc<str>,
    pub(super) policy: Policy,
    pub(super) factory: Factory,
    pub(super) place: Option<Place>,
    pub(super) orders: mpsc::Sender<Order>,
    /// Cancelled when this task is to stop; by then `deadline` is set.
    pub(super) stop: CancellationToken,
    /// When the stop of all tasks must be over.
    pub(super) deadline: Mutex<Option<Instant>>,
    /// Cancelled when the stop of all tasks begins: from then on, nothing starts again.
    pub(super) closing: CancellationToken,
    pub(super) started: watch::Sender<bool>,
    /// How the first run ended that did not start.
    pub(super) failed: watch::Sender<Option<Failure>>,
    pub(super) status: Shared,
    /// Called with the name of a task that is given up, if it is a critical one.
    pub(super) gave_up: watch::Sender<Option<Arc<str>>>,
}

/// How one run ended.
enum Ended {
    ByItself(Result<(), Failure>),
    Ordered(Order),
    /// One before it in its group has failed.
    Held,
    Stopped(End),
}

/// What ended a pause between two runs.
enum Woken {
    InTime,
    /// A person wants it to run.
    Ordered,
    Stopped,
}

impl Task {
    /// Tells the task to end; it has until its own timeout, or until this deadline.
    pub(super) fn stop_by(&self, deadline: Instant) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        self.stop.cancel();
    }

    /// Waits until the first run says that it has started.
    pub(super) async fn first_start(&self, within: Duration) -> Result<(), Failure> {
        let mut started = self.started.subscribe();
        let mut failed = self.failed.subscribe();
        let wait = async {
            tokio::select! {
                biased;
                Ok(_) = started.wait_for(|started| *started) => Ok(()),
                Ok(failure) = failed.wait_for(Option::is_some) => {
                    Err(failure.clone().unwrap_or_default())
                }
            }
        };
        let late = || format!("it took longer than {}", humantime::format_duration(within));
        timeout(within, wait).await.unwrap_or_else(|_| Err(late()))
    }

    /// Whether its life goes on. What runs on after it was aborted does not count.
    pub(super) fn is_alive(&self) -> bool {
        // Its life holds the other end.
        !self.orders.is_closed()
    }

    /// The whole life of the task.
    pub(super) async fn live(&self, mut orders: mpsc::Receiver<Order>) -> End {
        let mut history = History::default();
        let end = loop {
            if self.closing.is_cancelled() {
                break End::Done;
            }
            let since = Instant::now();
            let next = match self.run(&mut orders).await {
                Ended::Stopped(end) => break end,
                Ended::Held => self.wait(State::Starting, None, &mut orders).await,
                Ended::Ordered(Order::Pause) => self.wait(State::Paused, None, &mut orders).await,
                Ended::Ordered(_) => Woken::InTime,
                Ended::ByItself(result) => {
                    let failed = result.is_err();
                    let words = result.as_ref().err().map_or("it ended", String::as_str);
                    self.failed.send_replace(Some(words.to_owned()));
                    if let Err(failure) = result {
                        self.status.failed(failure);
                    }
                    let again = match self.policy.restart {
                        Restart::Always => true,
                        Restart::OnFailure => failed,
                        Restart::Never => false,
                    };
                    if !again || self.closing.is_cancelled() {
                        break End::Done;
                    }
                    match history.next(&self.policy, since.elapsed()) {
                        Some(pause) => {
                            self.set_place(Member::Down);
                            self.status.lock().restarts += 1;
                            self.wait(State::BackingOff, Some(pause), &mut orders).await
                        }
                        None => match self.give_up(&mut orders).await {
                            Woken::Stopped => break End::GaveUp,
                            woken => woken,
                        },
                    }
                }
            };
            match next {
                Woken::InTime => {}
                // All its chances are new.
                Woken::Ordered => history = History::default(),
                Woken::Stopped => break End::Done,
            }
        };
        self.set_place(Member::Gone);
        self.failed.send_if_modified(|failed| {
            let waiting = failed.is_none();
            failed.get_or_insert_with(|| "it was stopped".to_owned());
            waiting
        });
        let mut status = self.status.lock();
        status.state = if end == End::GaveUp {
            State::GaveUp
        } else {
            State::Stopped
        };
        status.next_run = None;
        drop(status);
        end
    }

    /// It has failed too often. Only an operator can start it again; a critical one ends the
    /// service.
    async fn give_up(&self, orders: &mut mpsc::Receiver<Order>) -> Woken {
        self.set_place(Member::Gone);
        let critical = self.policy.critical;
        tracing::error!(task = &*self.name, critical, "task given up");
        if critical {
            self.gave_up.send_replace(Some(Arc::clone(&self.name)));
        }
        self.wait(State::GaveUp, None, orders).await
    }

    /// One run, from its start to its end, whatever brings that about.
    async fn run(&self, orders: &mut mpsc::Receiver<Order>) -> Ended {
        let cancelled = CancellationToken::new();
        let beat = watch::Sender::new(Instant::now());
        let context = Context {
            name: Arc::clone(&self.name),
            cancelled: cancelled.clone(),
            beat: beat.clone(),
            started: self.started.clone(),
            status: self.status.clone(),
        };
        {
            let mut status = self.status.lock();
            status.state = State::Running;
            status.next_run = None;
            status.runs += 1;
        }
        self.set_place(Member::Running);
        // The handle is kept, and awaited or aborted before this function returns.
        #[expect(clippy::disallowed_methods)]
        let mut run = tokio::spawn(caught((self.factory)(context)));
        loop {
            tokio::select! {
                biased;
                ended = &mut run => return Ended::ByItself(joined(ended)),
                () = self.stop.cancelled() => {
                    cancelled.cancel();
                    return Ended::Stopped(self.ended(run).await);
                }
                () = held(self.place.as_ref()) => {
                    cancelled.cancel();
                    let end = self.ended(run).await;
                    self.set_place(Member::Held);
                    return self.unless_stopped(end, Ended::Held);
                }
                Some(order) = orders.recv() => {
                    if order != Order::Resume {
                        cancelled.cancel();
                        let end = self.ended(run).await;
                        return self.unless_stopped(end, Ended::Ordered(order));
                    }
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

    /// Waits for a run that was told to end, and aborts it when it has had its time.
    async fn ended(&self, mut run: JoinHandle<Result<(), Failure>>) -> End {
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            () = self.time_is_up() => {
                run.abort();
                // What it holds is dropped before anything else stops; a run that blocks its thread
                // cannot be waited for.
                _ = timeout(ABORTING, run).await;
                return End::Aborted;
            }
        };
        match joined(ended) {
            Ok(()) => End::Done,
            Err(failure) => {
                self.status.failed(failure.clone());
                End::Failed(failure)
            }
        }
    }

    /// From now, its own timeout, or what the stop of all tasks leaves it, also if that begins only
    /// in the meantime.
    async fn time_is_up(&self) {
        let stop = async {
            self.stop.cancelled().await;
            let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        _ = timeout(self.policy.stop_within, stop).await;
    }

    /// What a run ended for, unless the task was told to stop while it did.
    fn unless_stopped(&self, end: End, ended: Ended) -> Ended {
        if self.stop.is_cancelled() {
            Ended::Stopped(end)
        } else {
            ended
        }
    }

    /// Between two runs: until the pause is over and the group allows it, or somebody decides.
    async fn wait(
        &self,
        state: State,
        pause: Option<Duration>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Woken {
        {
            let mut status = self.status.lock();
            status.state = state;
            status.next_run = pause.map(|pause| SystemTime::now() + pause);
        }
        let turn = async {
            match (state, pause) {
                (State::Paused | State::GaveUp, _) => std::future::pending().await,
                (_, Some(pause)) => sleep(pause).await,
                (_, None) => {}
            }
            if let Some(place) = &self.place {
                place.may_start().await;
            }
        };
        tokio::pin!(turn);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Woken::Stopped,
                () = self.closing.cancelled() => return Woken::Stopped,
                Some(order) = orders.recv() => match (order, state) {
                    (Order::Pause, State::Paused | State::GaveUp) => {}
                    (Order::Pause, _) => return Box::pin(self.wait(State::Paused, None, orders)).await,
                    (Order::Resume, State::Paused) | (Order::Restart, _) => return Woken::Ordered,
                    (Order::Resume, _) => {}
                },
                () = &mut turn => return Woken::InTime,
            }
        }
    }

    fn set_place(&self, member: Member) {
        if let Some(place) = &self.place {
            place.set(member);
        }
    }
}

/// How long an aborted run is waited for. It ends at its next await, which is at once but for a run
/// that blocks.
pub(super) const ABORTING: Duration = Duration::from_millis(100);

fn joined(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    // Panics are caught within the run; what is left is an abortion, or a runtime that ends.
    ended.unwrap_or_else(|error| Err(error.to_string()))
}

/// Completes when a task has to stop because of one before it, after those behind it have.
async fn held(place: Option<&Place>) {
    match place {
        Some(place) => {
            place.must_stop().await;
            place.may_stop().await;
        }
        None => std::future::pending().await,
    }
}

/// Completes with the limit when the last beat is longer ago.
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
