//! What a pool has been doing, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Why a connection was closed before the pool was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discard {
    /// It had lived long enough.
    Old,
    /// It did not answer any more when it was to be lent again.
    Dead,
    /// A statement failed in a way that says that the connection is of no more use.
    Broken,
    /// What was under way on it could not be ended in time, or not be told.
    Unfinished,
    /// Nobody else is to have it: the pool closes, or it was taken for good.
    Closed,
}

/// The state of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// The most connections there may be.
    pub max: u32,
    /// Connections there are.
    pub size: usize,
    pub idle: usize,
    pub in_use: usize,
    /// Whoever waits for one.
    pub waiting: usize,
    /// The longest that somebody has had one.
    pub longest_hold_ms: u64,
    #[serde(flatten)]
    pub waits: Totals,
}

/// What has been counted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How long those waited who got a connection: within each bound, and beyond the last.
    pub acquired: [u64; BOUNDS_US.len() + 1],
    /// How long they waited, all of them together.
    pub waited_us: u64,
    /// Whoever did not get one in time.
    pub timeouts: u64,
    /// Whoever had one for longer than `hold_warning`.
    pub held_long: u64,
    pub discarded_old: u64,
    pub discarded_dead: u64,
    pub discarded_broken: u64,
    pub discarded_unfinished: u64,
}

impl Totals {
    /// How many waited no longer than each bound, and longer than the one before.
    pub fn waits(&self) -> impl Iterator<Item = (Duration, u64)> {
        let bounds = BOUNDS_US.into_iter().map(Duration::from_micros);
        bounds.zip(self.acquired)
    }

    /// How many waited longer than the last of them.
    #[must_use]
    pub fn beyond(&self) -> u64 {
        self.acquired[BOUNDS_US.len()]
    }
}

/// The bounds of the histogram, in microseconds.
const BOUNDS_US: [u64; 6] = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

#[derive(Debug, Default)]
pub(super) struct Waits {
    acquired: [AtomicU64; BOUNDS_US.len() + 1],
    waited_us: AtomicU64,
    timeouts: AtomicU64,
    held_long: AtomicU64,
    discarded: [AtomicU64; 5],
}

impl Waits {
    pub(super) fn record(&self, waited: Duration) {
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.iter().position(|bound| waited <= *bound);
        self.acquired[place.unwrap_or(BOUNDS_US.len())].fetch_add(1, Ordering::Relaxed);
        self.waited_us.fetch_add(waited, Ordering::Relaxed);
    }

    pub(super) fn give_up(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn hold_long(&self) {
        self.held_long.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn discard(&self, reason: Discard) {
        self.discarded[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn so_far(&self) -> Totals {
        let discarded = |reason| self.discarded[reason as usize].load(Ordering::Relaxed);
        Totals {
            acquired: std::array::from_fn(|place| self.acquired[place].load(Ordering::Relaxed)),
            waited_us: self.waited_us.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            held_long: self.held_long.load(Ordering::Relaxed),
            discarded_old: discarded(Discard::Old),
            discarded_dead: discarded(Discard::Dead),
            discarded_broken: discarded(Discard::Broken),
            discarded_unfinished: discarded(Discard::Unfinished),
        }
    }
}
