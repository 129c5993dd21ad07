//! What the connections of a listener share with it: its limits, its clock, and how far its end has come.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::limits::Limits;

#[derive(Debug)]
pub(super) struct Shared {
    limits: Limits,
    /// The sweeps since the listener began.
    now: AtomicU32,
    /// Answers ask their clients to come back over another connection.
    closing: AtomicBool,
    /// Cancelled when the drain begins.
    draining: CancellationToken,
    /// The drain is over: the connections that are left are cut.
    is_cut: AtomicBool,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            draining: CancellationToken::new(),
            is_cut: AtomicBool::new(false),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many sweeps there have been: the age of things is counted in these.
    pub(super) fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// The time from one sweep to the next: a tenth of the shortest deadline, within reason.
    pub(super) fn tick(&self) -> Duration {
        let limits = &self.limits;
        let shortest = limits
            .header_timeout
            .min(limits.idle_timeout)
            .min(limits.write_timeout);
        (shortest / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Whether something has lasted for so long, if it began at that tick.
    pub(super) fn is_over(&self, since: u32, time: Duration) -> bool {
        let age = self.now().wrapping_sub(since);
        // The first tick may have come at once.
        self.tick() * age.saturating_sub(1) >= time
    }

    /// Counts one more sweep.
    pub(super) fn advance(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn announce_close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    pub(super) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    pub(super) fn begin_drain(&self) {
        self.announce_close();
        self.draining.cancel();
    }

    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }
}
