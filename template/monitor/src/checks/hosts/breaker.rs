//! A circuit breaker. A host that fails several times in a row is not requested for a while. Then one trial
//! request decides whether the breaker closes.

use std::time::Duration;

use tokio::time::Instant;

/// The state of the breaker of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    /// Requests pass. This many have failed in a row.
    Closed { failures: u32 },
    /// No request passes before this time.
    Open { until: Instant },
    /// The trial request is running, and no other passes.
    HalfOpen,
}

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) failures: u32,
    pub(super) pause: Duration,
}

impl Breaker {
    pub(super) const NEW: Self = Self::Closed { failures: 0 };

    /// The state after a request passes; `None` if it may not.
    pub(super) fn admit(self) -> Option<Self> {
        match self {
            Self::Closed { .. } => Some(self),
            Self::Open { until } if until <= Instant::now() => Some(Self::HalfOpen),
            Self::Open { .. } | Self::HalfOpen => None,
        }
    }

    /// The state after a request has ended: with a response, without one, or cancelled. `is_trial` marks the
    /// trial request.
    pub(super) fn after(self, is_trial: bool, answered: Option<bool>, limits: Limits) -> Self {
        let now = Instant::now();
        match (self, answered) {
            (Self::Closed { .. }, Some(true)) => Self::NEW,
            (Self::Closed { failures }, Some(false)) if failures + 1 < limits.failures => {
                Self::Closed {
                    failures: failures + 1,
                }
            }
            (Self::Closed { .. }, Some(false)) => Self::Open {
                until: now + limits.pause,
            },
            (Self::HalfOpen, Some(true)) if is_trial => Self::NEW,
            (Self::HalfOpen, Some(false)) if is_trial => Self::Open {
                until: now + limits.pause,
            },
            (Self::HalfOpen, None) if is_trial => Self::Open { until: now },
            // Requests from before it opened do not count.
            _ => self,
        }
    }

    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }
}
