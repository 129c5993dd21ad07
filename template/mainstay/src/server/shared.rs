//! What a listener and its connections share: the limits, the clock of the deadlines, and the state of the drain.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::limits::Limits;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    /// The number of sweeps so far: the clock of the deadlines.
    ticks: AtomicU32,
    /// Whether responses carry `Connection: close`.
    pub(super) is_closing: AtomicBool,
    /// Cancelled when the drain begins.
    pub(super) draining: CancellationToken,
    /// Whether the deadline of the drain has passed.
    pub(super) is_cut: AtomicBool,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ticks: AtomicU32::new(1),
            is_closing: AtomicBool::new(false),
            draining: CancellationToken::new(),
            is_cut: AtomicBool::new(false),
        }
    }

    /// The current tick.
    pub(super) fn now(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// The time between two sweeps: a tenth of the shortest deadline, within reason.
    pub(super) fn tick(&self) -> Duration {
        let limits = &self.limits;
        let shortest = limits
            .header_timeout
            .min(limits.idle_timeout)
            .min(limits.write_timeout);
        (shortest / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Whether the time since a tick exceeds a limit.
    pub(super) fn is_over(&self, since: u32, limit: Duration) -> bool {
        let ticks = self.now().wrapping_sub(since);
        // The first of them may have come at once.
        self.tick() * ticks.saturating_sub(1) >= limit
    }
}
