//! What code knows of the request that it runs for, without being handed it: its id, its trace, and
//! until when there is time.
//!
//! It is known wherever the request's own task runs. Work that is given to another task takes it
//! along with [`Context::carry`].

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;

tokio::task_local! {
    static CURRENT: Context;
}

/// The request at hand.
#[derive(Debug, Clone)]
pub struct Context {
    pub id: RequestId,
    pub trace: Option<Trace>,
    /// Who has sent it, if it came over a listener.
    pub client: Option<IpAddr>,
    /// Nobody waits for its answer any longer than that.
    pub deadline: Instant,
}

impl Context {
    /// Of a request of which no more is known than until when there is time.
    pub(super) fn until(deadline: Instant) -> Self {
        Self {
            id: RequestId::next(),
            trace: None,
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

    /// Runs this for the request.
    pub fn carry<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
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
        let mut text = [0; 32];
        let (first, second) = text.split_at_mut(16);
        write_hex(*process, first);
        write_hex(state.hash_one(count), second);
        Self(Origin::Here(text))
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

/// With a digit for each four bits. Formatting takes ten times as long.
fn write_hex(number: u64, digits: &mut [u8]) {
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        let value = number >> (4 * place) & 0xf;
        *digit = b"0123456789abcdef"[value as usize];
    }
}

/// The trace that a request belongs to, by the `traceparent` that it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace([u8; Self::LENGTH]);

impl Trace {
    /// `00-<trace>-<parent>-<flags>`
    const LENGTH: usize = 55;

    /// From the header, by version 00 of W3C's Trace Context. Of a later version, what is as in this
    /// one counts.
    pub(super) fn parse(header: &[u8]) -> Option<Self> {
        let (known, rest) = header.split_at_checked(Self::LENGTH)?;
        let known: [u8; Self::LENGTH] = known.try_into().ok()?;
        let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        let is_dash = |place| matches!(place, 2 | 35 | 52);
        let mut bytes = known.iter().enumerate();
        let has_shape = bytes.all(|(place, byte)| {
            if is_dash(place) {
                *byte == b'-'
            } else {
                is_hex(byte)
            }
        });
        let is_over = match &known[..2] {
            b"ff" => return None,
            b"00" => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let is_nothing = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
        let names = !is_nothing(&known[3..35]) && !is_nothing(&known[36..52]);
        (has_shape && is_over && names).then_some(Self(known))
    }

    /// What all of the trace's requests have in common.
    #[must_use]
    pub fn id(&self) -> &str {
        str::from_utf8(&self.0[3..35]).unwrap_or_default()
    }

    /// The header for a request that is sent on behalf of this one.
    #[must_use]
    pub fn header(&self) -> String {
        let parent = fastrand::u64(1..);
        let flags = str::from_utf8(&self.0[53..]).unwrap_or_default();
        format!("00-{}-{parent:016x}-{flags}", self.id())
    }
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

    #[test]
    fn a_trace_is_taken_over_and_passed_on() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let trace = Trace::parse(format!("00-{id}-00f067aa0ba902b7-01").as_bytes()).unwrap();
        assert_eq!(trace.id(), id);
        let passed_on = trace.header();
        assert_eq!(Trace::parse(passed_on.as_bytes()).unwrap().id(), id);
        assert!(passed_on.ends_with("-01"), "{passed_on}");
        assert!(!passed_on.contains("00f067aa0ba902b7"), "{passed_on}");
    }

    #[test]
    fn what_is_no_trace_is_none() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert_eq!(Trace::parse(bad.as_bytes()), None, "{bad}");
        }
        let later = b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(Trace::parse(later).is_some());
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
