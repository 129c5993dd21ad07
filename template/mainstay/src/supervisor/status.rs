//! The status of a task.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use tokio::time::Instant;

/// The state of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not run yet.
    #[default]
    Starting,
    /// It runs. A periodic task is running between its runs as well.
    Running,
    /// It failed, and waits until its restart.
    BackingOff,
    /// An operator has paused it.
    Paused,
    /// It has ended for good.
    Stopped,
    /// It failed too often. An operator can restart it.
    GaveUp,
}

impl State {
    /// The names of all states, in their order, as in metrics and probes.
    pub(crate) const NAMES: [&str; 6] = [
        "starting",
        "running",
        "backing_off",
        "paused",
        "stopped",
        "gave_up",
    ];

    /// The name of this state.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The status of a task.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// The name of the task.
    pub name: Arc<str>,
    pub(crate) critical: bool,
    /// The state of the task.
    pub state: State,
    /// The runs so far.
    pub runs: u64,
    /// The restarts so far.
    pub restarts: u64,
    /// The message of the last failure.
    pub last_error: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    pub(crate) last_error_at: Option<SystemTime>,
    #[serde(serialize_with = "rfc3339")]
    pub(crate) last_beat: Option<SystemTime>,
    #[serde(serialize_with = "rfc3339")]
    pub(crate) next_run: Option<SystemTime>,
    /// The failed runs in a row of a periodic task.
    #[serde(skip)]
    pub(crate) failures: u32,
    /// When the last run of a periodic task ended, and how long it took.
    #[serde(skip)]
    pub(crate) last_run: Option<(Instant, Duration)>,
}

fn rfc3339<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let time = time.map(|time| humantime::format_rfc3339_millis(time).to_string());
    time.serialize(serializer)
}

impl Status {
    pub(super) fn run_begins(&mut self) {
        self.state = State::Running;
        self.next_run = None;
        self.runs += 1;
    }

    pub(super) fn failed(&mut self, failure: String) {
        self.last_error = Some(failure);
        self.last_error_at = Some(SystemTime::now());
    }
}
