//! The trace of a request: W3C Trace Context, version 00.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::RequestContext;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// A trace, and the span of a request in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The id of the trace, in 32 hexadecimal digits.
    pub id: String,
    /// The span of the sender, unless the trace begins here.
    pub(crate) parent: Option<u64>,
    pub(crate) span: u64,
    /// Whether the spans of the trace are exported.
    pub(crate) is_sampled: bool,
    /// The header `tracestate`, which is passed on unchanged.
    state: Option<HeaderValue>,
}

impl Trace {
    /// The trace that a request with these headers belongs to, if it belongs to one. A `traceparent` of a trusted proxy
    /// decides whether it is sampled, and `ratio` is the share of all others.
    pub(crate) fn of(headers: &HeaderMap, is_trusted: bool, ratio: f64) -> Option<Self> {
        let is_drawn = || ratio > 0.0 && fastrand::f64() < ratio;
        // A scan of the few headers is cheaper than `get`, which hashes the name.
        let parent = headers.iter().find(|(name, _)| *name == PARENT);
        let Some(mut trace) = parent.and_then(|(_, value)| Self::parse(value.as_bytes())) else {
            return is_drawn().then(Self::new_sampled);
        };
        if !is_trusted {
            trace.is_sampled = is_drawn();
        }
        trace.state = headers.get(STATE).cloned();
        Some(trace)
    }

    /// Parses the header `traceparent`, `00-<trace>-<parent>-<flags>`, and of later versions the part that they share
    /// with version 00.
    pub(crate) fn parse(header: &[u8]) -> Option<Self> {
        let text = str::from_utf8(header).ok()?;
        let mut parts = text.splitn(5, '-');
        let mut digits = |count| {
            let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let part = parts.next()?;
            (part.len() == count && part.bytes().all(is_digit)).then_some(part)
        };
        let (version, id, parent, flags) = (digits(2)?, digits(32)?, digits(16)?, digits(2)?);
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let parent = number(parent).filter(|parent| *parent != 0)?;
        let is_known = version != "ff" && (version != "00" || parts.next().is_none());
        (is_known && !id.bytes().all(|digit| digit == b'0')).then_some(Self {
            id: id.to_owned(),
            parent: Some(parent),
            span: any_span(),
            is_sampled: number(flags)? & 1 == 1,
            state: None,
        })
    }

    /// A new trace that begins with this request, and is sampled.
    #[must_use]
    pub fn new_sampled() -> Self {
        Self {
            id: format!("{:032x}", fastrand::u128(1..)),
            parent: None,
            span: any_span(),
            is_sampled: true,
            state: None,
        }
    }

    /// The trace of the current request, if it is sampled.
    #[must_use]
    pub fn current_sampled() -> Option<Arc<Self>> {
        let trace = RequestContext::with(|context| context.trace.clone()).flatten();
        trace.filter(|trace| trace.is_sampled)
    }

    /// The headers of a request that is sent on behalf of this one.
    pub(super) fn headers(&self) -> Vec<(&'static str, HeaderValue)> {
        let flags = u8::from(self.is_sampled);
        let parent = format!("00-{}-{:016x}-{flags:02x}", self.id, self.span);
        // Digits and hyphens are always valid.
        let parent = HeaderValue::try_from(parent).ok();
        let parent = parent.map(|parent| ("traceparent", parent));
        let state = self.state.clone().map(|state| ("tracestate", state));
        parent.into_iter().chain(state).collect()
    }
}

pub(crate) fn any_span() -> u64 {
    fastrand::u64(1..)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn trusted_proxy_decides_which_request_is_traced() {
        for (parent, is_trusted, ratio, is_sampled) in [
            (SAMPLED, true, 0.0, Some(true)),
            (NOT_SAMPLED, true, 1.0, Some(false)),
            (SAMPLED, false, 0.0, Some(false)),
            (NOT_SAMPLED, false, 1.0, Some(true)),
            ("nonsense", true, 0.0, None),
            ("nonsense", true, 1.0, Some(true)),
        ] {
            let headers = HeaderMap::from_iter([(PARENT, parent.parse().unwrap())]);
            let trace = Trace::of(&headers, is_trusted, ratio);
            let sampled = trace.as_ref().map(|trace| trace.is_sampled);
            assert_eq!(sampled, is_sampled, "{parent} {is_trusted} {ratio}");
            let is_continued = trace.is_some_and(|trace| SAMPLED.contains(&trace.id));
            assert_eq!(is_continued, parent != "nonsense", "{parent} {ratio}");
        }
        assert_eq!(Trace::of(&HeaderMap::new(), true, 0.0), None);
    }

    #[test]
    fn share_of_sampled_requests_is_trace_ratio() {
        let sampled = (0..10_000).filter_map(|_| Trace::of(&HeaderMap::new(), false, 0.25));
        let count = sampled.count();
        // Eleven standard deviations.
        assert!((2_000..3_000).contains(&count), "{count}");
    }

    fn sent_within(trace: Option<Trace>) -> Vec<(&'static str, HeaderValue)> {
        let context = RequestContext {
            trace: trace.map(Arc::new),
            ..RequestContext::until(Instant::now())
        };
        context.sync_scope(RequestContext::trace_headers)
    }

    #[test]
    fn trace_is_taken_and_passed_on() {
        let given = Trace::parse(SAMPLED.as_bytes()).unwrap();
        assert_eq!(given.parent, Some(0x00f0_67aa_0ba9_02b7));
        for is_sampled in [true, false] {
            let trace = Trace {
                is_sampled,
                state: Some(HeaderValue::from_static("vendor=1")),
                ..given.clone()
            };
            let sent = sent_within(Some(trace));
            let [("traceparent", parent), ("tracestate", state)] = &sent[..] else {
                panic!("{sent:?}");
            };
            assert_eq!(state, "vendor=1");
            let next = Trace::parse(parent.as_bytes()).unwrap();
            assert_eq!((&next.id, next.is_sampled), (&given.id, is_sampled));
            // Those that it is sent to see this request above them, and not the one before it.
            assert_eq!(next.parent, Some(given.span));
            assert_ne!(next.parent, given.parent);
        }
        assert_eq!(sent_within(None), []);
        assert_eq!(RequestContext::trace_headers(), []);
    }

    #[test]
    fn malformed_traceparent_is_ignored() {
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
}
