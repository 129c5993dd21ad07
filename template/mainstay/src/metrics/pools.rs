//! The state of connection pools, for metrics.

use std::sync::Arc;

use serde::Serialize;

use super::histogram::Histogram;

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct PoolStatus {
    pub(crate) max: u32,
    pub(crate) size: usize,
    pub(crate) idle: usize,
    pub(crate) in_use: usize,
    /// The locations in the code that hold a connection.
    pub(crate) holders: Vec<String>,
    pub(crate) waiting: usize,
    pub(crate) longest_hold_ms: u64,
    #[serde(flatten)]
    pub(crate) waits: Totals,
}

/// What a pool has counted since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Totals {
    #[serde(skip)]
    pub(crate) wait: Arc<Histogram>,
    pub(crate) timeouts: u64,
    /// The callers that held a connection for longer than `hold_warning`.
    pub(crate) held_long: u64,
    pub(crate) discarded_old: u64,
    pub(crate) discarded_dead: u64,
    pub(crate) discarded_broken: u64,
    pub(crate) discarded_unfinished: u64,
}
