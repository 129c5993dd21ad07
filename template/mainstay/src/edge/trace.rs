//! The sampling of traces, and the span of a request.
//!
//! A `traceparent` of a trusted proxy decides for its request; `http.trace_ratio` is the share of all others. A request
//! that is not sampled has no span and no cost.

use axum::http::{HeaderMap, HeaderName, Method};
use tracing::Span;

use crate::context::{Context, Trace};
use crate::telemetry::span;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a request with these headers belongs to, if it belongs to one.
pub(super) fn of(headers: &HeaderMap, is_trusted: bool, ratio: f64) -> Option<Trace> {
    let is_drawn = || ratio > 0.0 && fastrand::f64() < ratio;
    let parent = headers.get(PARENT);
    let Some(mut trace) = parent.and_then(|header| Trace::parse(header.as_bytes())) else {
        return is_drawn().then(Trace::new_sampled);
    };
    trace.is_sampled = if is_trusted {
        trace.is_sampled
    } else {
        is_drawn()
    };
    trace.state = headers.get(STATE).cloned();
    Some(trace)
}

/// The span of a request, if the request is sampled.
pub(super) fn span(method: &Method, route: &str, context: &Context) -> Span {
    let trace = context.trace.as_deref();
    let Some(trace) = trace.filter(|trace| trace.is_sampled) else {
        return Span::none();
    };
    // What exports the span reads the context. Only the filter `off` disables this level.
    context.clone().sync_scope(|| {
        tracing::error_span!(
            span::REQUEST,
            method = method.as_str(),
            route,
            request_id = context.id.as_ref(),
            trace_id = trace.id(),
            status = tracing::field::Empty,
            error = tracing::field::Empty,
        )
    })
}

#[cfg(test)]
mod tests {
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
            let trace = of(&headers, is_trusted, ratio);
            let sampled = trace.as_ref().map(|trace| trace.is_sampled);
            assert_eq!(sampled, is_sampled, "{parent} {is_trusted} {ratio}");
            let is_continued = trace.is_some_and(|trace| SAMPLED.contains(trace.id()));
            assert_eq!(is_continued, parent != "nonsense", "{parent} {ratio}");
        }
        assert_eq!(of(&HeaderMap::new(), true, 0.0), None);
    }

    #[test]
    fn share_of_sampled_requests_is_trace_ratio() {
        let sampled = (0..10_000).filter_map(|_| of(&HeaderMap::new(), false, 0.25));
        let count = sampled.count();
        // Eleven standard deviations.
        assert!((2_000..3_000).contains(&count), "{count}");
    }
}
