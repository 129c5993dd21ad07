//! One task that reads new changes of all processes once a second, and sends them to all streams of this
//! process. The number of streams does not change the load of the database.
//!
//! All streams share a ring of the latest changes. A stream that falls further behind misses changes. It
//! delays no other stream, and nothing is buffered for it alone.

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

/// How many changes one statement reads.
const PAGE: usize = 256;

/// A change with its encoded frame, which all streams share.
#[derive(Debug, Clone)]
pub(super) struct LiveChange {
    pub(super) id: i64,
    pub(super) frame: Bytes,
}

impl From<Change> for LiveChange {
    fn from(change: Change) -> Self {
        Self {
            id: change.id,
            frame: stream::frame(&change),
        }
    }
}

/// Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub(super) changes: Changes,
    ring: Sender<LiveChange>,
    /// The id of the last change in the ring.
    last: Arc<Mutex<i64>>,
}

impl Feed {
    /// A feed of the changes from now on.
    pub(super) async fn from_now(changes: Changes) -> Result<Self, sqlx::Error> {
        let newest = changes.newest().await?;
        Ok(Self {
            changes,
            ring: Sender::new(RING),
            last: Arc::new(Mutex::new(newest)),
        })
    }

    /// Starts the task.
    pub(super) fn spawn(&self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let feed = self.clone();
        let task = supervisor.every(NAME, EVERY).jitter(EVERY / 2);
        task.cancel_on_stop().run(move |_| {
            let feed = feed.clone();
            async move { feed.run_once().await }
        })
    }

    /// Sends all new changes to the streams. Only one task does this, so that no change is sent twice.
    pub(super) async fn run_once(&self) -> Result<(), sqlx::Error> {
        loop {
            let after = *self.last();
            let page = self.changes.page(after, PAGE).await?;
            let is_all = page.len() < PAGE;
            let mut last = self.last();
            for change in page {
                *last = change.id;
                // Fails if there are no streams.
                _ = self.ring.send(change.into());
            }
            if is_all {
                return Ok(());
            }
        }
    }

    /// Subscribes to the changes after the returned id.
    pub(super) fn subscribe(&self) -> (Receiver<LiveChange>, i64) {
        let last = self.last();
        (self.ring.subscribe(), *last)
    }

    fn last(&self) -> MutexGuard<'_, i64> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
