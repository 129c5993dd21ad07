//! The rate limit of each client: checks per minute, alone or in batches, and a burst.

use std::num::NonZeroU32;

use mainstay::problem::Problem;
use mainstay::rate::RateLimit;
use mainstay::settings::{Check, Reader, Section};

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) asked_per_minute: Option<u32>,
    pub(super) asked_at_once: u32,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            asked_per_minute: from.value("asked_per_minute"),
            asked_at_once: from.value("asked_at_once"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            self.asked_per_minute != Some(0),
            &["monitor.asked_per_minute"],
            "must be at least 1; \"\" allows any number",
        );
        check.range("monitor.asked_at_once", self.asked_at_once, 1..);
    }
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
