//! The life of the process: starting, ready, draining, stopped, and the exit code at its end.
//!
//! One value says where in its life the process is. Everything in here can watch it, and systemd is
//! told of it where it is there. A stop goes through phases, each with its budget: what it still
//! waits for is logged every five seconds, by name.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use sd_notify::NotifyState;
use serde::{Serialize, Serializer};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, interval_at};
use tokio_util::sync::CancellationToken;

use crate::settings::{Check, Reader, Section};
use crate::telemetry::{self, message};

/// Where in its life the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    Starting,
    Ready,
    Draining {
        phase: Phase,
        /// When the phase must be over.
        #[serde(rename = "left_ms", serialize_with = "left")]
        until: Instant,
    },
    Stopped,
}

/// The phases of a stop, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Still serving, so that load balancers can notice.
    Delay,
    /// Requests in flight finish.
    Drain,
    /// Background tasks finish.
    Tasks,
    /// The database closes, and what is left to be exported is.
    Close,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delay => "delay",
            Self::Drain => "drain",
            Self::Tasks => "tasks",
            Self::Close => "close",
        })
    }
}

fn left<S: Serializer>(until: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    let left = until.saturating_duration_since(Instant::now());
    serializer.serialize_u64(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
}

/// The state of the process, to be watched from anywhere.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    state: watch::Sender<State>,
    asked: CancellationToken,
    /// What a start waits for.
    step: watch::Sender<&'static str>,
}

impl Lifecycle {
    #[must_use]
    pub fn starting() -> Self {
        Self {
            state: watch::Sender::new(State::Starting),
            asked: CancellationToken::new(),
            step: watch::Sender::new("nothing yet"),
        }
    }

    /// Notes what the start waits for, for those who wait for the start.
    pub fn set_startup_step(&self, step: &'static str) {
        self.step.send_replace(step);
    }

    /// What the start waits for.
    #[must_use]
    pub fn step(&self) -> &'static str {
        *self.step.borrow()
    }

    #[must_use]
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Every change from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The start is complete. Once only: a stop that has begun is not taken back.
    pub fn ready(&self) {
        let was_starting = self.state.send_if_modified(|state| {
            let starting = *state == State::Starting;
            if starting {
                *state = State::Ready;
            }
            starting
        });
        if was_starting {
            tell_systemd(&[NotifyState::Ready]);
        }
    }

    /// Asks for a stop, from inside of the process.
    pub fn ask_to_stop(&self) {
        self.asked.cancel();
    }

    /// Completes when somebody has asked for a stop.
    pub async fn asked_to_stop(&self) {
        self.asked.cancelled().await;
    }

    /// Begins the stop: from now on, the process is not ready.
    #[must_use]
    pub fn stop(&self) -> Stop {
        let now = Instant::now();
        self.state.send_replace(State::Draining {
            phase: Phase::Delay,
            until: now,
        });
        tell_systemd(&[NotifyState::Stopping]);
        Stop {
            state: self.state.clone(),
            progress: interval_at(now + PROGRESS, PROGRESS),
        }
    }
}

/// How often a stop says what it waits for.
const PROGRESS: Duration = Duration::from_secs(5);

/// Tells systemd, or whatever else listens for it. There may be nobody.
fn tell_systemd(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::warn!(%error, "cannot notify the socket in NOTIFY_SOCKET");
    }
}

/// A stop that is under way.
#[derive(Debug)]
pub struct Stop {
    state: watch::Sender<State>,
    progress: Interval,
}

impl Stop {
    /// Does the work of one phase, which keeps to its budget by itself.
    pub async fn phase<T>(
        &mut self,
        phase: Phase,
        budget: Duration,
        waits_for: impl Fn() -> Vec<String>,
        work: impl Future<Output = T>,
    ) -> T {
        let until = Instant::now() + budget;
        self.state.send_replace(State::Draining { phase, until });
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = self.progress.tick() => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            tracing::info!(
                message = message::WAITING,
                %phase,
                "for" = waits_for().join(", "),
                left = %humantime::format_duration(Duration::from_secs(left.as_secs())),
            );
        }
    }

    /// Nothing is left to be done.
    pub fn over(self) {
        self.state.send_replace(State::Stopped);
    }
}

/// `[shutdown]`: how long each phase of a stop may take.
#[derive(Debug, Clone)]
pub struct Shutdown {
    pub delay: Duration,
    pub drain: Duration,
    pub tasks: Duration,
    pub close: Duration,
    /// When whoever started the process kills it.
    pub grace: Duration,
}

/// Kept back from the grace for the way from the last phase to the exit.
const RESERVE: Duration = Duration::from_secs(2);

impl Section for Shutdown {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            delay: from.value("delay"),
            drain: from.value("drain"),
            tasks: from.value("tasks"),
            close: from.value("close"),
            grace: from.value("grace"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        let phases = [self.delay, self.drain, self.tasks, self.close];
        let needed = phases
            .iter()
            .fold(RESERVE, |needed, phase| needed.saturating_add(*phase));
        check.that(
            needed <= self.grace,
            &[
                "shutdown.delay",
                "shutdown.drain",
                "shutdown.tasks",
                "shutdown.close",
                "shutdown.grace",
            ],
            format!(
                "the four phases and {} of reserve take {}, which is longer than the grace; \
                 shorten a phase, or raise the grace here and where the service is deployed",
                humantime::format_duration(RESERVE),
                humantime::format_duration(needed)
            ),
        );
    }
}

/// How the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    Clean,
    Failed,
    /// Stopped, but what is named had to be left unfinished at a deadline.
    Abandoned(Vec<String>),
}

impl Exit {
    /// How a stop ended that had to leave these behind.
    pub fn after(abandoned: impl IntoIterator<Item = String>) -> Self {
        let abandoned: Vec<_> = abandoned.into_iter().collect();
        if abandoned.is_empty() {
            Self::Clean
        } else {
            Self::Abandoned(abandoned)
        }
    }

    /// The names of what was left behind, if anything was.
    #[must_use]
    pub fn abandoned(&self) -> Option<String> {
        match self {
            Self::Abandoned(names) => Some(names.join(", ")),
            Self::Clean | Self::Failed => None,
        }
    }

    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failed => 1,
            Self::Abandoned(_) => 3,
        }
    }
}

impl Exit {
    /// Logs the last event of the process.
    pub(crate) fn log(&self) {
        telemetry::insist(|| {
            tracing::info!(
                message = message::STOPPED,
                outcome = %self,
                exit_code = self.code(),
                abandoned = self.abandoned(),
            );
        });
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "clean",
            Self::Failed => "failed",
            Self::Abandoned(_) => "abandoned",
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
