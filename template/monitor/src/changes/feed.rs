//! One task that reads what any process has announced, once a second, and hands it to all streams of this
//! one: the database is asked once, however many follow.
//!
//! The last of it is kept in a ring that all streams share. One that falls behind by more than that has
//! missed something, and keeps nobody waiting; nothing is kept for it alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use mainstay::supervisor::{SpawnError, Supervisor};
use tokio::sync::broadcast::{Receiver, Sender};

use super::store::{Change, Changes};
use super::stream;

const NAME: &str = "follower";

const EVERY: Duration = Duration::from_secs(1);

/// How many changes a stream can be behind.
pub(super) const RING: usize = 1024;

/// How many are read at once.
const PAGE: usize = 256;

/// A change as it is told, which is written out once for all streams.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) id: i64,
    pub(super) frame: Bytes,
}

impl From<Change> for Told {
    fn from(change: Change) -> Self {
        Self {
            id: change.id,
            frame: stream::frame(&change),
        }
    }
}

/// All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub(super) changes: Changes,
    ring: Sender<Told>,
    /// The last one that has gone into the ring.
    last: Arc<Mutex<i64>>,
}

impl Feed {
    /// One of what is announced from now on.
    pub(super) async fn from_now(changes: Changes) -> Result<Self, sqlx::Error> {
        let newest = changes.newest().await?;
        Ok(Self {
            changes,
            ring: Sender::new(RING),
            last: Arc::new(Mutex::new(newest)),
        })
    }

    /// Starts the task.
    pub(super) fn run_by(&self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let feed = self.clone();
        let task = supervisor.every(NAME, EVERY).jitter(EVERY / 2);
        let started = task.cancel_on_stop().run(move |_| {
            let feed = feed.clone();
            async move { feed.turn().await }
        });
        started.map(drop)
    }

    /// Hands on all that is new. There is one who does, so that nothing is handed on twice.
    pub(super) async fn turn(&self) -> Result<(), sqlx::Error> {
        loop {
            let after = *self.last();
            let page = self.changes.page(after, PAGE).await?;
            let is_all = page.len() < PAGE;
            let mut last = self.last();
            for change in page {
                *last = change.id;
                // There may be nobody who follows.
                _ = self.ring.send(change.into());
            }
            if is_all {
                return Ok(());
            }
        }
    }

    /// All that comes after a change, and which change that is.
    pub(super) fn subscribe(&self) -> (Receiver<Told>, i64) {
        let last = self.last();
        (self.ring.subscribe(), *last)
    }

    fn last(&self) -> MutexGuard<'_, i64> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
