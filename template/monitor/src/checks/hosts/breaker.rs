//! A circuit breaker: whoever has failed several times in a row is left alone for a while, and then tried
//! with one request before all others come back.

use std::time::Duration;

use tokio::time::Instant;

/// What is known of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    /// All may pass. So many in a row have failed.
    Closed { failures: u32 },
    /// None may pass before that.
    Open { until: Instant },
    /// One is on its way, and the others wait for what becomes of it.
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

    /// The state after somebody was let through, if somebody is.
    pub(super) fn pass(self) -> Option<Self> {
        match self {
            Self::Closed { .. } => Some(self),
            Self::Open { until } if until <= Instant::now() => Some(Self::HalfOpen),
            Self::Open { .. } | Self::HalfOpen => None,
        }
    }

    /// The state after somebody has come back: with an answer, without one, or without having asked.
    /// `is_trial` is whoever was the one.
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
            // Of those who were let through before it opened, none knows anything new.
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
