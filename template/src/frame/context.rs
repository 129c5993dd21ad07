//! What code knows of the request that it runs for, without being handed it: its id, its trace
//! ([`Trace`]), and until when there is time.
//!
//! It is known wherever the request's own task runs. Work that is given to another task takes it
//! along with [`Context::carry`].

mod trace;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::HeaderValue;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;

pub use trace::Trace;
#[cfg(feature = "otlp")]
pub(super) use trace::any_span;

use super::telemetry::span;

tokio::task_local! {
    static CURRENT: Context;
}

/// The request at hand.
#[derive(Debug, Clone)]
pub struct Context {
    pub id: RequestId,
    pub trace: Option<Trace>,
    /// What those before us have noted on it (`tracestate`), to be passed on as it is.
    pub trace_state: Option<HeaderValue>,
    /// Who has sent it, if it came over a listener.
    pub client: Option<IpAddr>,
    /// Nobody waits for its answer any longer than that.
    pub deadline: Instant,
}

impl Context {
    /// Of a request of which no more is known than until when there is time.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self {
            id: RequestId::next(),
            trace: None,
            trace_state: None,
            client: None,
            deadline,
        }
    }

    /// Of the request that this code runs for, if it runs for one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// The time that is left for the request at hand: nothing once nobody waits any more. `None`
    /// where no request is.
    #[must_use]
    pub fn time_left() -> Option<Duration> {
        let left = |context: &Self| context.deadline.duration_since(Instant::now());
        CURRENT.try_with(left).ok()
    }

    /// The headers that make whatever is sent on behalf of the request at hand a part of its trace:
    /// none where there is no trace.
    #[must_use]
    pub fn trace_headers() -> Vec<(&'static str, HeaderValue)> {
        let headers = |context: &Self| {
            let trace = context.trace?;
            // What asks is inside of a span that is exported, or speaks for the request as a whole.
            let parent = span::current_id().unwrap_or(trace.span());
            let trace = HeaderValue::try_from(trace.header(parent)).ok()?;
            let state = context.trace_state.clone();
            let state = state.map(|state| ("tracestate", state));
            Some([("traceparent", trace)].into_iter().chain(state).collect())
        };
        CURRENT.try_with(headers).ok().flatten().unwrap_or_default()
    }

    /// Runs this for the request.
    pub fn carry<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }

    /// The same, for what does not wait.
    pub(super) fn around<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

/// Names one request: made here, without a system call and uniquely enough to find it among all
/// replicas, or given by a peer that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Origin);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// In hexadecimal digits: it is written down at least twice.
    Here([u8; 32]),
    Given(Arc<str>),
}

/// The longest id that is taken from a peer.
const LONGEST: usize = 128;

impl RequestId {
    /// Of the request at hand.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| context.id.clone()).ok()
    }

    pub(super) fn next() -> Self {
        static PROCESS: LazyLock<(RandomState, u64)> = LazyLock::new(|| {
            let state = RandomState::new();
            let process = RandomState::new().hash_one(std::process::id());
            (state, process)
        });
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (state, process) = &*PROCESS;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(Origin::Here(hex([*process, state.hash_one(count)])))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Origin::Here(text) => text,
            Origin::Given(text) => text.as_bytes(),
        }
    }

    /// What a peer calls the request, if that is fit for a header and a log.
    pub(super) fn given(text: &[u8]) -> Option<Self> {
        let fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
        let is_id = (1..=LONGEST).contains(&text.len()) && text.iter().all(fit);
        let text = str::from_utf8(text).ok().filter(|_| is_id)?;
        Some(Self(Origin::Given(text.into())))
    }
}

impl AsRef<str> for RequestId {
    fn as_ref(&self) -> &str {
        // Digits are text.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_ref())
    }
}

/// One behind the other, with a digit for each four bits. Formatting takes ten times as long.
fn hex(numbers: [u64; 2]) -> [u8; 32] {
    let mut digits = [0; 32];
    for (number, digits) in numbers.into_iter().zip(digits.chunks_mut(16)) {
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            let value = number >> (4 * place) & 0xf;
            *digit = b"0123456789abcdef"[value as usize];
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_never_the_same() {
        let mut ids: Vec<_> = (0..1_000).map(|_| RequestId::next().to_string()).collect();
        assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1_000);
    }

    #[test]
    fn an_id_from_outside_is_taken_as_it_is_or_not_at_all() {
        let longest = "x".repeat(LONGEST);
        for fine in ["a", "0af7-65_19.cd:dc/+=@", longest.as_str()] {
            let id = RequestId::given(fine.as_bytes()).map(|id| id.to_string());
            assert_eq!(id.as_deref(), Some(fine));
        }
        let too_long = "x".repeat(LONGEST + 1);
        for bad in ["", "two words", "line\nbreak", "ä", "\"", too_long.as_str()] {
            assert_eq!(RequestId::given(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_is_left_is_known_wherever_the_request_is() {
        assert_eq!(Context::time_left(), None);
        let context = Context::until(Instant::now() + Duration::from_secs(3));
        let work = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let elsewhere = Context::current().unwrap().carry(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Context::time_left()
            });
            let left = [Context::time_left(), elsewhere.await];
            tokio::time::sleep(Duration::from_secs(9)).await;
            (left, Context::time_left())
        };
        let (left, over) = context.carry(work).await;
        assert_eq!(left, [2, 1].map(|left| Some(Duration::from_secs(left))));
        assert_eq!(over, Some(Duration::ZERO));
    }
}
