//! Ended spans that are not exported yet: a bounded queue. When it is full, it drops the oldest spans and counts
//! them: after a long outage, the latest spans are of more use.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

/// How many are sent at once.
pub(super) const BATCH: usize = 512;

/// How many are kept, beside those that are being sent.
pub(super) const ROOM: usize = 4 * BATCH;

/// A span that has ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// The trace's id, in hexadecimal digits.
    pub(super) trace: [u8; 32],
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    /// Whether that is somebody else's.
    pub(super) parent_is_remote: bool,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) begin: SystemTime,
    pub(super) end: SystemTime,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// How many of these there was no room for.
    pub(super) dropped_attributes: u32,
    pub(super) failed: bool,
}

/// What a span stands for, by its number in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Whole(i64),
    Number(f64),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    spans: Mutex<VecDeque<Ended>>,
    /// Told when there are enough for a batch.
    enough: Notify,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Queue {
    /// Takes a span, and never waits.
    pub(super) fn push(&self, span: Ended) {
        let mut spans = self.spans();
        if spans.len() == ROOM {
            spans.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        spans.push_back(span);
        let has_enough = spans.len() == BATCH;
        drop(spans);
        if has_enough {
            self.enough.notify_one();
        }
    }

    /// Waits for enough of them.
    pub(super) async fn enough(&self) {
        self.enough.notified().await;
    }

    /// The oldest, no more than a batch.
    pub(super) fn take(&self) -> Vec<Ended> {
        let mut spans = self.spans();
        let count = spans.len().min(BATCH);
        spans.drain(..count).collect()
    }

    pub(super) fn have_sent(&self, spans: usize) {
        self.sent.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn have_lost(&self, spans: usize) {
        self.lost.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Nothing that is done under the lock can panic.
    fn spans(&self) -> MutexGuard<'_, VecDeque<Ended>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
