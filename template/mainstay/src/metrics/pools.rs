//! The numbers of connection pools.

use std::sync::Arc;

use serde::Serialize;

use super::histogram::Histogram;

/// The state of a pool.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Numbers {
    /// The most connections that the pool opens.
    pub(crate) max: u32,
    /// The connections that are open.
    pub(crate) size: usize,
    pub(crate) idle: usize,
    pub(crate) in_use: usize,
    /// The callers that wait for a connection.
    pub(crate) waiting: usize,
    /// The longest time for which a caller has held a connection.
    pub(crate) longest_hold_ms: u64,
    #[serde(flatten)]
    pub(crate) waits: Totals,
}

/// What a pool has counted since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Totals {
    /// How long callers waited for their connection.
    #[serde(skip)]
    pub(crate) wait: Arc<Histogram>,
    /// The callers that got no connection in time.
    pub(crate) timeouts: u64,
    /// The callers that held a connection for longer than `hold_warning`.
    pub(crate) held_long: u64,
    pub(crate) discarded_old: u64,
    pub(crate) discarded_dead: u64,
    pub(crate) discarded_broken: u64,
    pub(crate) discarded_unfinished: u64,
}
