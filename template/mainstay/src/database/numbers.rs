//! What a pool has been doing, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::pools::{BOUNDS_US, Totals};

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
