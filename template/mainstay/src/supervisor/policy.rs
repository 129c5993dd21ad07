//! The policy of a task: when it is restarted, after which pause, and when it is given up.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The policy of one task. [`Builder`](super::Builder) explains the fields.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) restart: Restart,
    pub(super) critical: bool,
    pub(super) first_pause: Duration,
    pub(super) max_pause: Duration,
    pub(super) max_restarts: usize,
    pub(super) window: Duration,
    pub(super) stop_within: Duration,
    pub(super) heartbeat: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: Restart::Always,
            critical: false,
            first_pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(30),
            max_restarts: 5,
            window: Duration::from_mins(1),
            stop_within: Duration::from_secs(5),
            heartbeat: None,
        }
    }
}

/// After which ends a task is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Any end, also a return of `Ok`. This is the default.
    Always,
    /// An error or a panic.
    OnFailure,
    /// None.
    Never,
}

/// A failure after a run of this length counts as the first one.
pub(super) const STABLE: Duration = Duration::from_mins(1);

impl Policy {
    /// The longest pause after this many failures in a row.
    pub(super) fn ceiling(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.first_pause.saturating_mul(doubled).min(self.max_pause)
    }
}

#[derive(Debug, Default)]
pub(super) struct History {
    restarts: VecDeque<Instant>,
    failures: u32,
}

impl History {
    /// Counts a restart, and returns the pause before it; `None` if the task is to be given up. The pause is
    /// random up to its ceiling, so that tasks that fail together do not restart together.
    pub(super) fn next(&mut self, policy: &Policy, ran_for: Duration) -> Option<Duration> {
        let now = Instant::now();
        let has_expired = |restart: &mut Instant| now - *restart >= policy.window;
        while self.restarts.pop_front_if(has_expired).is_some() {}
        if self.restarts.len() >= policy.max_restarts {
            return None;
        }
        self.restarts.push_back(now);
        if ran_for >= STABLE {
            self.failures = 0;
        }
        self.failures += 1;
        Some(policy.ceiling(self.failures).mul_f64(fastrand::f64()))
    }
}
