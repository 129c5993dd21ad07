//! The state of connection pools, for metrics.

use std::time::Duration;

use serde::Serialize;

use super::text::Buckets;

/// The state of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PoolStatus {
    /// The most connections that the pool opens.
    pub(crate) max: u32,
    /// The connections that are open.
    pub(crate) size: usize,
    pub(crate) idle: usize,
    pub(crate) in_use: usize,
    /// The locations in the code that hold a connection.
    pub(crate) holders: Vec<String>,
    /// The callers that wait for a connection.
    pub(crate) waiting: usize,
    /// The longest time for which a caller has held a connection.
    pub(crate) longest_hold_ms: u64,
    #[serde(flatten)]
    pub(crate) waits: Totals,
}

/// What a pool has counted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// The checkouts, by how long the caller waited: one for each of [`BOUNDS_US`], and one beyond.
    pub(crate) acquired: [u64; BOUNDS_US.len() + 1],
    /// The time that all checkouts waited, together.
    pub(crate) waited_us: u64,
    /// The callers that got no connection in time.
    pub(crate) timeouts: u64,
    /// The callers that held a connection for longer than `hold_warning`.
    pub(crate) held_long: u64,
    pub(crate) discarded_old: u64,
    pub(crate) discarded_dead: u64,
    pub(crate) discarded_broken: u64,
    pub(crate) discarded_unfinished: u64,
}

impl Totals {
    /// The histogram of waits.
    pub(crate) fn wait_counts(&self) -> Buckets {
        let bounds = BOUNDS_US.into_iter().map(Duration::from_micros);
        Buckets {
            bounds: bounds.map(|bound| bound.as_secs_f64()).collect(),
            counts: self.acquired.into(),
            sum: Duration::from_micros(self.waited_us).as_secs_f64(),
        }
    }
}

/// The bounds of the histogram of waits, in microseconds.
pub(crate) const BOUNDS_US: [u64; 6] = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
