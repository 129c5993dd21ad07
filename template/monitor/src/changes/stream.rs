//! The events of one client, in the format of an event stream.
//!
//! - A client that sends the last id that it has seen first gets the changes after it, a page at a time from
//!   the database, as fast as it reads. Then it gets new changes live.
//! - A client that reads too slowly gets the number of changes that it missed, and the id before them. It can
//!   reconnect with that id to get them. Removed changes are reported in the same way.
//! - While nothing changes, a comment shows both ends that the connection is alive.
//! - A stream needs the memory of one page.
//!
//! At the drain, the listener ends event streams at once. The client reconnects to another process with the
//! last id that it has seen.

use std::convert::Infallible;
use std::time::Duration;
use std::vec;

use axum::body::Bytes;
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::feed::{Feed, LiveChange};
use super::numbers;
use super::store::{Change, Changes};
use crate::timestamp::Timestamp;

/// The longest time without an event or a comment.
pub(super) const SILENCE: Duration = Duration::from_secs(15);

/// How many changes one statement reads.
pub(super) const PAGE: usize = 100;

/// The reconnection time that a client is change, at random, in milliseconds: clients that are disconnected
/// together do not return together.
const COME_BACK: std::ops::Range<u32> = 1000..4000;

/// An open stream, with its permit.
#[derive(Debug)]
pub(super) struct Subscription {
    changes: Changes,
    live: Receiver<LiveChange>,
    /// All changes up to this id were sent, or reported as missed.
    last: i64,
    /// Up to this id, changes are read from the database.
    until: Option<i64>,
    page: vec::IntoIter<Change>,
    _permit: StreamPermit,
}

#[derive(Debug)]
struct StreamPermit(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        numbers::streams(-1.0);
    }
}

impl Subscription {
    /// Streams the changes after the id `seen`, or from now on.
    pub(super) fn new(feed: &Feed, seen: Option<i64>, permit: OwnedSemaphorePermit) -> Self {
        numbers::streams(1.0);
        let (live, newest) = feed.subscribe();
        Self {
            changes: feed.changes.clone(),
            live,
            last: seen.unwrap_or(newest),
            until: seen.map(|_| newest),
            page: Vec::new().into_iter(),
            _permit: StreamPermit(permit),
        }
    }

    /// The frames of the stream, as a response body.
    pub(super) fn frames(mut self) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
        async_stream::stream! {
            yield Ok(format!("retry: {}\n\n", fastrand::u32(COME_BACK)).into());
            loop {
                match self.next().await {
                    Ok(Some(frame)) => yield Ok(frame),
                    Ok(None) => return,
                    Err(cause) => {
                        // The client reconnects, and gets an error if the database is still away.
                        tracing::warn!(%cause, "a stream of changes ends");
                        return;
                    }
                }
            }
        }
    }

    /// The next frame.
    async fn next(&mut self) -> Result<Option<Bytes>, sqlx::Error> {
        loop {
            let change = match self.page.next() {
                Some(change) => self.emit(change.into()),
                None if self.until.is_some() => self.next_page().await?,
                None => match timeout(SILENCE, self.live.recv()).await {
                    Ok(Ok(change)) => self.emit(change),
                    // The id of the next change shows how many were missed.
                    Ok(Err(RecvError::Lagged(_))) => None,
                    Ok(Err(RecvError::Closed)) => return Ok(None),
                    Err(_) => Some(Bytes::from_static(b":\n\n")),
                },
            };
            if change.is_some() {
                return Ok(change);
            }
        }
    }

    /// Reads the next page. After the last one, reports the changes that are no longer stored.
    async fn next_page(&mut self) -> Result<Option<Bytes>, sqlx::Error> {
        let page = self.changes.page(self.last, PAGE).await?;
        let is_last = page.is_empty();
        self.page = page.into_iter();
        let until = self.until.take_if(|_| is_last);
        Ok(until.and_then(|until| self.missed(until)))
    }

    /// The frame of a change, after a report of those missed before it. `None` if it was sent already.
    fn emit(&mut self, change: LiveChange) -> Option<Bytes> {
        if change.id <= self.last {
            return None;
        }
        let missed = self.missed(change.id - 1);
        self.last = change.id;
        Some(match missed {
            Some(missed) => [missed, change.frame].concat().into(),
            None => change.frame,
        })
    }

    /// Reports the changes after the last one that was sent, up to this id.
    fn missed(&mut self, up_to: i64) -> Option<Bytes> {
        let (after, count) = (self.last, up_to - self.last);
        if count <= 0 {
            return None;
        }
        self.last = up_to;
        numbers::missed(count.unsigned_abs());
        Some(format!("event: missed\ndata: {{\"after\":{after},\"count\":{count}}}\n\n").into())
    }
}

/// The frame of a change.
pub(super) fn frame(change: &Change) -> Bytes {
    #[derive(Serialize)]
    struct Data<'a> {
        target_id: i64,
        is_up: bool,
        at: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    }
    let data = Data {
        target_id: change.target_id,
        is_up: change.is_up,
        at: change.turned_at,
        reason: change.reason.as_deref(),
    };
    let (id, event) = (change.id, if change.is_up { "up" } else { "down" });
    let data = serde_json::to_string(&data).unwrap_or_default();
    format!("id: {id}\nevent: {event}\ndata: {data}\n\n").into()
}
