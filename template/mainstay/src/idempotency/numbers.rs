//! The metrics of requests with a key.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::catalog;
use crate::metrics::text::Text;

/// The outcome of a request with a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// Its work was done, and its answer stored.
    First,
    Replayed,
    /// Another request with this key was in progress.
    InUse,
    /// The key belongs to another request.
    Reused,
}

static OUTCOMES: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static STORED: AtomicU64 = AtomicU64::new(0);

impl Outcome {
    pub(super) fn count(self) {
        OUTCOMES[self as usize].fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn set_stored(count: u64) {
    STORED.store(count, Ordering::Relaxed);
}

/// Appends the counts to a page of metrics.
pub(crate) fn write_metrics(text: &mut Text) {
    let mut requests = text.family(&catalog::IDEMPOTENCY_REQUESTS);
    let outcomes = [
        (Outcome::First, "first"),
        (Outcome::Replayed, "replayed"),
        (Outcome::InUse, "in_use"),
        (Outcome::Reused, "reused"),
    ];
    for (outcome, label) in outcomes {
        let count = OUTCOMES[outcome as usize].load(Ordering::Relaxed);
        requests.sample(&[label], count);
    }
    text.family(&catalog::IDEMPOTENCY_ANSWERS)
        .sample(&[], STORED.load(Ordering::Relaxed));
}
