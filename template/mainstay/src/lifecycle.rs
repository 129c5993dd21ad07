//! The states of the process, from its start to its exit code.

use std::fmt;
use std::time::Duration;

use garde::Validate;
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::settings;
use crate::signals::Signal;
use crate::telemetry::{self, message};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    Starting,
    Ready,
    Draining {
        phase: Phase,
        /// The deadline of the phase.
        #[serde(rename = "left_ms", serialize_with = "left")]
        until: Instant,
    },
    Stopped,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining { .. } => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// The phases of a stop, in their order. [`Shutdown`] explains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Delay,
    Drain,
    Tasks,
    Close,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

fn left<S: Serializer>(until: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    let left = until.saturating_duration_since(Instant::now());
    serializer.serialize_u64(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
}

/// The state of the process, and requests to stop it. Clones share their state.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    pub(crate) state: watch::Sender<State>,
    pub(crate) stop_requested: CancellationToken,
    /// What the start waits for, until it is complete.
    pub(crate) step: watch::Sender<Option<&'static str>>,
}

impl Lifecycle {
    /// A process that starts.
    #[must_use]
    pub fn starting() -> Self {
        Self {
            state: watch::Sender::new(State::Starting),
            stop_requested: CancellationToken::new(),
            step: watch::Sender::new(Some("nothing yet")),
        }
    }

    pub(crate) fn state(&self) -> State {
        *self.state.borrow()
    }

    pub(crate) fn ready(&self) {
        self.state.send_replace(State::Ready);
        self.step.send_replace(None);
        notify_systemd(NotifyState::Ready);
    }

    /// Begins a phase of the stop, and returns its deadline.
    pub(crate) fn begin_phase(&self, phase: Phase, budget: Duration) -> Instant {
        let until = Instant::now() + budget;
        self.state.send_replace(State::Draining { phase, until });
        if phase == Phase::Delay {
            notify_systemd(NotifyState::Stopping);
        }
        until
    }
}

/// Notifies systemd, or another supervisor that set `NOTIFY_SOCKET`.
fn notify_systemd(news: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[news]) {
        tracing::warn!(%error, "cannot notify the socket in NOTIFY_SOCKET");
    }
}

/// `[shutdown]`: how long each phase of a stop may take, in their order.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::fits_into_the_grace))]
pub struct Shutdown {
    /// The process still serves, new connections too, so that load balancers notice that it is not ready.
    pub delay: Duration,
    /// Servers accept no more connections, and requests in flight finish.
    pub drain: Duration,
    /// Supervised tasks stop in reverse order, then CPU-bound work.
    pub tasks: Duration,
    /// Databases close, and the last traces are exported.
    pub close: Duration,
    /// The time after which the supervisor of the process kills it.
    pub grace: Duration,
}

/// The part of the grace that is left for the exit after the last phase.
const RESERVE: Duration = Duration::from_secs(2);

impl Shutdown {
    fn fits_into_the_grace(&self, &(): &()) -> garde::Result {
        let phases = [self.delay, self.drain, self.tasks, self.close];
        let needed = phases.into_iter().fold(RESERVE, Duration::saturating_add);
        settings::rule(
            needed <= self.grace,
            &["delay", "drain", "tasks", "close", "grace"],
            format_args!(
                "the four phases and {} of reserve take {}, which is longer than the grace; \
                 shorten a phase, or raise the grace here and where the service is deployed",
                humantime::format_duration(RESERVE),
                humantime::format_duration(needed)
            ),
        )
    }
}

/// How the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Everything ended in time. The exit code is 0.
    Clean,
    /// The start or a critical part failed. The exit code is 1.
    Failed,
    /// The named parts did not end by their deadline. The exit code is 3.
    Abandoned(Vec<String>),
    /// A second signal ended the stop. The exit code is 128 and its number.
    Killed(Signal),
}

impl Exit {
    pub(crate) fn clean_if(succeeded: bool) -> Self {
        if succeeded { Self::Clean } else { Self::Failed }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failed => 1,
            Self::Abandoned(_) => 3,
            Self::Killed(signal) => 128 + *signal as u8,
        }
    }

    /// Logs the last event of the process. It blocks the thread until the buffer of the log has room.
    pub(crate) fn log(&self) {
        let (outcome, abandoned) = match self {
            Self::Clean => ("clean", None),
            Self::Failed => ("failed", None),
            Self::Abandoned(names) => ("abandoned", Some(names.join(", "))),
            Self::Killed(_) => ("killed", None),
        };
        telemetry::flush();
        tracing::info!(
            message = message::STOPPED,
            outcome,
            exit_code = self.code(),
            abandoned,
        );
    }
}
