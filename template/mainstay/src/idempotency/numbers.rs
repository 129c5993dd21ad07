//! What has become of requests with a key, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a request with a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// It was worked on, and its answer kept.
    First,
    Replayed,
    /// Another one with this key was being worked on.
    InUse,
    /// The key belongs to another request.
    Reused,
}

/// Of this process, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    pub first: u64,
    pub replayed: u64,
    pub in_use: u64,
    pub reused: u64,
    /// The answers that are kept, as of the last time that they were counted.
    pub kept: u64,
}

static OUTCOMES: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static KEPT: AtomicU64 = AtomicU64::new(0);

impl Outcome {
    pub(super) fn count(self) {
        OUTCOMES[self as usize].fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn are_kept(count: u64) {
    KEPT.store(count, Ordering::Relaxed);
}

/// What has been going on.
#[must_use]
pub fn numbers() -> Numbers {
    let so_far = |outcome: Outcome| OUTCOMES[outcome as usize].load(Ordering::Relaxed);
    Numbers {
        first: so_far(Outcome::First),
        replayed: so_far(Outcome::Replayed),
        in_use: so_far(Outcome::InUse),
        reused: so_far(Outcome::Reused),
        kept: KEPT.load(Ordering::Relaxed),
    }
}
