//! The rate limit of each client: checks per minute, alone or in batches, and a burst.

use std::num::NonZeroU32;

use garde::Validate;
use mainstay::problem::Problem;
use mainstay::rate::RateLimit;
use serde::Deserialize;

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Copy, Deserialize, Validate)]
pub(super) struct Settings {
    #[garde(range(min = 1))]
    pub(super) asked_per_minute: Option<u32>,
    #[garde(range(min = 1))]
    pub(super) asked_at_once: u32,
}

/// Clones share the limit.
#[derive(Debug, Clone)]
pub(super) struct Allowance(Option<RateLimit>);

impl Allowance {
    pub(super) fn new(settings: Settings) -> Self {
        let per_minute = settings.asked_per_minute.and_then(NonZeroU32::new);
        let at_once = NonZeroU32::new(settings.asked_at_once);
        let limits = per_minute.zip(at_once);
        Self(limits.map(|(per_minute, at_once)| RateLimit::new(per_minute, at_once)))
    }

    /// Takes checks from the limit of the client of the current request.
    pub(super) fn take(&self, checks: usize) -> Result<(), Problem> {
        let checks = u32::try_from(checks).unwrap_or(u32::MAX);
        match (&self.0, NonZeroU32::new(checks)) {
            (Some(rate), Some(checks)) => rate.take(checks),
            (None, _) | (_, None) => Ok(()),
        }
    }
}
