//! The context of the current request: its id, its [`Trace`], its client, its deadline.
//!
//! [`edge::protect`](crate::edge::protect) sets it. Work that moves to another task takes it along with
//! [`RequestContext::scope`].

mod trace;

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;

pub use trace::Trace;
#[cfg(feature = "otlp")]
pub(super) use trace::any_span;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The request that the current task works on.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The id, which the answer carries in `x-request-id`.
    pub id: RequestId,
    /// The trace, if the request belongs to one.
    pub trace: Option<Arc<Trace>>,
    /// The address of the client, if the request came over a listener.
    pub client: Option<IpAddr>,
    /// The client gets a timeout from then on.
    pub deadline: Instant,
}

impl RequestContext {
    /// A context with a new id and this deadline, for work that no request asked for.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self {
            id: RequestId::next(),
            trace: None,
            client: None,
            deadline,
        }
    }

    /// The context of the current task, if it works on a request.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::with(Clone::clone)
    }

    /// Like [`current`](Self::current), without a clone.
    pub(super) fn with<T>(at: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(at).ok()
    }

    /// The time until the deadline of the current request, zero once it has passed.
    #[must_use]
    pub fn time_left() -> Option<Duration> {
        Self::with(|context| context.deadline.duration_since(Instant::now()))
    }

    /// The headers `traceparent` and `tracestate` for a request that is sent on behalf of the current one. Empty if that
    /// has no trace.
    #[must_use]
    pub fn trace_headers() -> Vec<(&'static str, HeaderValue)> {
        let trace = Self::with(|context| context.trace.clone()).flatten();
        trace.map_or_else(Vec::new, |trace| trace.headers())
    }

    /// Runs `work` with this context.
    pub fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }

    pub(super) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

/// The id of a request: the one that a trusted proxy sent in `x-request-id`, or a new one that is unique among all
/// replicas. The answer carries it in the same header, and every event of the log in `request_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub(crate) HeaderValue);

thread_local! {
    /// New ids, one after the other. Each made by itself would cost a request two allocations.
    static UNUSED: Cell<Bytes> = const { Cell::new(Bytes::new()) };
}

impl RequestId {
    const MAX_LENGTH: usize = 128;

    /// The id of the current request.
    #[must_use]
    pub fn current() -> Option<Self> {
        RequestContext::with(|context| context.id.clone())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.0.as_bytes()).unwrap_or_default()
    }

    pub(super) fn next() -> Self {
        let mut ids = UNUSED.try_with(Cell::take).unwrap_or_default();
        if ids.is_empty() {
            // The generator has a weak seed. What makes replicas differ is a random number of the operating system.
            let digit = |number: u8| b"0123456789abcdef"[usize::from(number)];
            let byte = |byte: u8| [digit(byte >> 4), digit(byte & 0xf)];
            let digits = |number: u64| number.to_be_bytes().map(byte);
            let batch = digits(RandomState::new().hash_one(0));
            let batch: [_; 128] = std::array::from_fn(|_| [batch, digits(fastrand::u64(..))]);
            let batch = batch.as_flattened().as_flattened().as_flattened();
            ids = Bytes::copy_from_slice(batch);
        }
        let id = HeaderValue::from_maybe_shared(ids.split_to(32));
        _ = UNUSED.try_with(|unused| unused.set(ids));
        // Hexadecimal digits are always valid.
        Self(id.unwrap_or(HeaderValue::from_static("-")))
    }

    /// The id that a trusted proxy gives, if it is fit for a log.
    pub(super) fn given(header: &HeaderValue) -> Option<Self> {
        let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
        let text = header.as_bytes();
        let is_id = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.iter().all(is_fit);
        is_id.then(|| Self(header.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<_> = (0..1_000).map(|_| RequestId::next()).collect();
        let is_long = |id: &RequestId| id.as_str().len() == 32;
        assert!(ids.iter().all(is_long), "{ids:?}");
        ids.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        ids.dedup();
        assert_eq!(ids.len(), 1_000);
    }

    #[test]
    fn given_id_is_kept_or_refused_whole() {
        let longest = "x".repeat(RequestId::MAX_LENGTH);
        for fine in ["a", "0af7-65_19.cd:dc/+=@", longest.as_str()] {
            let id = RequestId::given(&fine.parse().unwrap());
            assert_eq!(id.as_ref().map(RequestId::as_str), Some(fine));
        }
        let too_long = "x".repeat(RequestId::MAX_LENGTH + 1);
        for bad in ["", "two words", "line\nbreak", "ä", "\"", too_long.as_str()] {
            let header = HeaderValue::try_from(bad);
            let given = header.ok().and_then(|header| RequestId::given(&header));
            assert_eq!(given, None, "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_left_is_known_in_every_task_of_the_request() {
        assert_eq!(RequestContext::time_left(), None);
        let context = RequestContext::until(Instant::now() + Duration::from_secs(3));
        let work = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let elsewhere = RequestContext::current().unwrap().scope(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                RequestContext::time_left()
            });
            let left = [RequestContext::time_left(), elsewhere.await];
            tokio::time::sleep(Duration::from_secs(9)).await;
            (left, RequestContext::time_left())
        };
        let (left, over) = context.scope(work).await;
        assert_eq!(left, [2, 1].map(|left| Some(Duration::from_secs(left))));
        assert_eq!(over, Some(Duration::ZERO));
    }
}
