//! The life of the process: starting, ready, draining, stopped, and the exit code at its end.
//!
//! Everything that cares about the state watches one value. A first SIGTERM or SIGINT begins an
//! orderly stop, whose phases each have a budget; a second one ends the process at once.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::settings::{Check, Reader, Section};

/// Where in its life the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Starting,
    Ready,
    Draining,
    Stopped,
}

/// The state of the process, to be watched from anywhere.
#[derive(Debug, Clone)]
pub struct Lifecycle(watch::Sender<State>);

impl Lifecycle {
    #[must_use]
    pub fn starting() -> Self {
        Self(watch::Sender::new(State::Starting))
    }

    #[must_use]
    pub fn state(&self) -> State {
        *self.0.borrow()
    }

    /// Moves on to a later state; there is no way back.
    pub fn enter(&self, state: State) {
        self.0.send_if_modified(|current| {
            let later = state > *current;
            if later {
                *current = state;
            }
            later
        });
    }
}

/// `[shutdown]`: how long each phase of a stop may take.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Still serving, so that load balancers can notice.
    pub delay: Duration,
    /// Requests in flight finish.
    pub drain: Duration,
    /// Background tasks finish.
    pub tasks: Duration,
    /// The database closes.
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

/// The signals that stop the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on, the process decides what a signal does.
    ///
    /// # Errors
    ///
    /// When the operating system refuses the handlers.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal, by number and name.
    pub async fn next(&mut self) -> (i32, &'static str) {
        tokio::select! {
            _ = self.terminate.recv() => (SignalKind::terminate().as_raw_value(), "SIGTERM"),
            _ = self.interrupt.recv() => (SignalKind::interrupt().as_raw_value(), "SIGINT"),
        }
    }
}
