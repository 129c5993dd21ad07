//! What one who follows is told, as an event stream has it.
//!
//! - Whoever says what they have seen is told all that came after it: from the database, a page at a time, as
//!   quickly as they read. Then they are told what comes.
//! - Whoever reads more slowly than changes come is told how many they have missed, and after which one:
//!   whoever comes again with that number is told those as well. The same is told of what was removed.
//! - When nothing happens, a comment every while shows both ends that the other one is there.
//! - A stream takes the memory of a page.
//!
//! It ends at the drain: the listener ends event streams at once, and whoever follows comes again, elsewhere,
//! with the last number that they have seen.

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

use super::feed::{Feed, Told};
use super::numbers;
use super::store::{Change, Changes};
use crate::moment::Moment;

/// The longest that nothing is said.
pub(super) const SILENCE: Duration = Duration::from_secs(15);

/// How many changes are read at once.
pub(super) const PAGE: usize = 100;

/// How long whoever is cut off waits until they come again, at least and at most, in milliseconds: when all
/// are cut off together, they do not come back together.
const COME_BACK: std::ops::Range<u32> = 1000..4000;

/// A stream of this process, which has a place for as long as it is open.
#[derive(Debug)]
pub(super) struct Following {
    changes: Changes,
    live: Receiver<Told>,
    /// All up to this one was told, or told of as missed.
    last: i64,
    /// Until this one was, changes are read from the database.
    until: Option<i64>,
    page: vec::IntoIter<Change>,
    _place: Place,
}

#[derive(Debug)]
struct Place(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Drop for Place {
    fn drop(&mut self) {
        numbers::streams(-1.0);
    }
}

impl Following {
    /// Follows what comes after this change, or what comes from now on.
    pub(super) fn new(feed: &Feed, seen: Option<i64>, place: OwnedSemaphorePermit) -> Self {
        numbers::streams(1.0);
        let (live, newest) = feed.subscribe();
        Self {
            changes: feed.changes.clone(),
            live,
            last: seen.unwrap_or(newest),
            until: seen.map(|_| newest),
            page: Vec::new().into_iter(),
            _place: Place(place),
        }
    }

    /// All that is told, as the body of an answer.
    pub(super) fn frames(mut self) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
        async_stream::stream! {
            yield Ok(format!("retry: {}\n\n", fastrand::u32(COME_BACK)).into());
            loop {
                match self.next().await {
                    Ok(Some(frame)) => yield Ok(frame),
                    Ok(None) => return,
                    Err(cause) => {
                        // Whoever follows comes again, and is told whether that is possible.
                        tracing::warn!(%cause, "a stream of changes ends");
                        return;
                    }
                }
            }
        }
    }

    /// What is to be told next.
    async fn next(&mut self) -> Result<Option<Bytes>, sqlx::Error> {
        loop {
            let told = match self.page.next() {
                Some(change) => self.tell(change.into()),
                None if self.until.is_some() => self.turn_page().await?,
                None => match timeout(SILENCE, self.live.recv()).await {
                    Ok(Ok(told)) => self.tell(told),
                    // The number of the next one tells how many.
                    Ok(Err(RecvError::Lagged(_))) => None,
                    Ok(Err(RecvError::Closed)) => return Ok(None),
                    Err(_) => Some(Bytes::from_static(b":\n\n")),
                },
            };
            if told.is_some() {
                return Ok(told);
            }
        }
    }

    /// Reads on; after the last page, tells what is not there any more.
    async fn turn_page(&mut self) -> Result<Option<Bytes>, sqlx::Error> {
        let page = self.changes.page(self.last, PAGE).await?;
        let is_last = page.is_empty();
        self.page = page.into_iter();
        let until = self.until.take_if(|_| is_last);
        Ok(until.and_then(|until| self.missed(until)))
    }

    /// A change, and what was missed before it; nothing if it was told already.
    fn tell(&mut self, told: Told) -> Option<Bytes> {
        if told.id <= self.last {
            return None;
        }
        let missed = self.missed(told.id - 1);
        self.last = told.id;
        Some(match missed {
            Some(missed) => [missed, told.frame].concat().into(),
            None => told.frame,
        })
    }

    /// What is between the last that was told and this one, that one included.
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

/// A change as it is told.
pub(super) fn frame(change: &Change) -> Bytes {
    #[derive(Serialize)]
    struct Data<'a> {
        target_id: i64,
        is_up: bool,
        at: Moment,
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
