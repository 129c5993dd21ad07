//! The trace of a request: W3C Trace Context, version 00.

use std::sync::Arc;

use axum::http::HeaderValue;

use super::Context;

/// A trace, and the span of a request in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// 32 hexadecimal digits, as in the header.
    id: String,
    /// The span of the sender, unless the trace begins here.
    pub(crate) parent: Option<u64>,
    /// The span of the request.
    pub(crate) span: u64,
    /// Whether the spans of the trace are exported.
    pub(crate) is_sampled: bool,
    /// The header `tracestate`, which is passed on unchanged.
    pub(crate) state: Option<HeaderValue>,
}

impl Trace {
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
        let trace = Context::with(|context| context.trace.clone()).flatten();
        trace.filter(|trace| trace.is_sampled)
    }

    /// The trace id, in 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The header `traceparent` for a request that is sent on behalf of this one, below the span `parent`.
    pub(super) fn header(&self, parent: u64) -> HeaderValue {
        let flags = u8::from(self.is_sampled);
        let header = format!("00-{}-{parent:016x}-{flags:02x}", self.id);
        // Digits and hyphens are always valid.
        HeaderValue::try_from(header).unwrap_or(HeaderValue::from_static(""))
    }
}

/// A new span id.
pub(crate) fn any_span() -> u64 {
    fastrand::u64(1..)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn sent_within(trace: Option<Trace>) -> Vec<(&'static str, HeaderValue)> {
        let context = Context {
            trace: trace.map(Arc::new),
            ..Context::until(Instant::now())
        };
        context.sync_scope(Context::trace_headers)
    }

    #[test]
    fn trace_is_taken_and_passed_on() {
        let given = Trace::parse(GIVEN.as_bytes()).unwrap();
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
            assert_eq!((next.id(), next.is_sampled), (given.id(), is_sampled));
            // Those that it is sent to see this request above them, and not the one before it.
            assert_eq!(next.parent, Some(given.span));
            assert_ne!(next.parent, given.parent);
        }
        assert_eq!(sent_within(None), []);
        assert_eq!(Context::trace_headers(), []);
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
