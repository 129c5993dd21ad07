//! The trace of a request: W3C Trace Context, version 00.

use std::sync::Arc;

use axum::http::HeaderValue;

use super::{Context, hex};

/// A trace, and the span of a request in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Hexadecimal digits, as in the header.
    id: [u8; 32],
    /// The span of the sender, unless the trace begins here.
    parent: Option<u64>,
    /// The span of the request.
    span: u64,
    is_sampled: bool,
    /// The header `tracestate`, which is passed on unchanged.
    state: Option<HeaderValue>,
}

impl Trace {
    /// `00-<trace>-<parent>-<flags>`
    const LENGTH: usize = 55;

    /// Parses the header `traceparent` of version 00, and of later versions the part that they share with it.
    pub(crate) fn parse(header: &[u8]) -> Option<Self> {
        let (known, rest) = header.split_at_checked(Self::LENGTH)?;
        let is_known = known.iter().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
        let is_over = match &known[..2] {
            b"ff" => return None,
            b"00" => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        if !is_known || !is_over {
            return None;
        }
        let number = |digits| u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
        let id: [u8; 32] = known[3..35].try_into().ok()?;
        let parent = number(&known[36..52]).filter(|parent| *parent != 0)?;
        let flags = number(&known[53..])?;
        (id != [b'0'; 32]).then(|| Self {
            id,
            parent: Some(parent),
            span: any_span(),
            is_sampled: flags & 1 == 1,
            state: None,
        })
    }

    /// A new trace that begins with this request, and is sampled.
    #[must_use]
    pub fn new_sampled() -> Self {
        Self {
            id: hex([fastrand::u64(1..), fastrand::u64(..)]),
            parent: None,
            span: any_span(),
            is_sampled: true,
            state: None,
        }
    }

    /// Overrides whether the trace is sampled.
    pub(crate) fn with_sampling(self, is_sampled: bool) -> Self {
        Self { is_sampled, ..self }
    }

    /// Adds the header `tracestate`.
    pub(crate) fn with_state(self, state: Option<HeaderValue>) -> Self {
        Self { state, ..self }
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
        str::from_utf8(&self.id).unwrap_or_default()
    }

    /// Whether the spans of this trace are exported.
    #[must_use]
    pub(crate) fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The span of the sender; `None` if the trace begins here.
    #[cfg(any(test, feature = "otlp"))]
    pub(crate) fn parent(&self) -> Option<u64> {
        self.parent
    }

    pub(super) fn state(&self) -> Option<&HeaderValue> {
        self.state.as_ref()
    }

    /// The span id of this request.
    #[must_use]
    pub(crate) fn span(&self) -> u64 {
        self.span
    }

    /// The header `traceparent` for a request that is sent on behalf of this one, below the span `parent`.
    pub(super) fn header(&self, parent: u64) -> String {
        let flags = u8::from(self.is_sampled);
        format!("00-{}-{parent:016x}-{flags:02x}", self.id())
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

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn given() -> Trace {
        Trace::parse(format!("00-{ID}-00f067aa0ba902b7-01").as_bytes()).unwrap()
    }

    #[test]
    fn trace_is_taken_and_passed_on() {
        let trace = given();
        let state = HeaderValue::from_static("vendor=1");
        let context = Context {
            trace: Some(Arc::new(trace.clone().with_state(Some(state)))),
            ..Context::until(Instant::now())
        };
        let sent = context.sync_scope(Context::trace_headers);
        let [("traceparent", parent), ("tracestate", state)] = &sent[..] else {
            panic!("{sent:?}");
        };
        assert_eq!(state, "vendor=1");
        let next = Trace::parse(parent.as_bytes()).unwrap();
        assert_eq!((next.id(), next.is_sampled()), (ID, true));
        // Those that it is sent to see this request above them, and not the one before it.
        assert_eq!(next.parent(), Some(trace.span()));
        assert_eq!(trace.parent(), Some(0x00f0_67aa_0ba9_02b7));
        assert_ne!(Some(trace.span()), trace.parent());
    }

    #[test]
    fn overridden_sampling_is_passed_on() {
        let trace = given().with_sampling(false);
        assert!(trace.header(7).ends_with("-0000000000000007-00"));
        let context = Context {
            trace: Some(Arc::new(trace)),
            ..Context::until(Instant::now())
        };
        assert_eq!(context.sync_scope(Trace::current_sampled), None);
    }

    #[test]
    fn without_a_trace_there_are_no_headers() {
        assert_eq!(Context::trace_headers(), []);
        let context = Context::until(Instant::now());
        assert_eq!(context.sync_scope(Context::trace_headers), []);
    }

    #[test]
    fn new_trace_is_valid_and_unique() {
        let (one, other) = (Trace::new_sampled(), Trace::new_sampled());
        assert_ne!(one.id(), other.id());
        let header = one.header(one.span());
        let next = Trace::parse(header.as_bytes()).unwrap();
        assert_eq!(next.id(), one.id());
        assert!(next.is_sampled());
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
