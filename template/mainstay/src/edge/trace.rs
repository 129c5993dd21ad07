//! The sampling of traces, and the span of a request.
//!
//! A `traceparent` of a trusted proxy decides for its request; `http.trace_ratio` is the share of all others. A request
//! that is not sampled has no span and no cost.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::de::{Deserialize, Deserializer, Error};
use tracing::Span;

use crate::context::{Context, Trace};
use crate::telemetry::span;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest `tracestate` that is passed on.
const LONGEST: usize = 512;

/// A share of all requests, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio(f64);

impl Ratio {
    /// Draws whether a request is in the share.
    fn draw(self) -> bool {
        self.0 > 0.0 && fastrand::f64() < self.0
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let ratio = f64::deserialize(value).ok();
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio
            .map(Self)
            .ok_or_else(|| D::Error::custom("expected a number from 0.0 to 1.0"))
    }
}

/// The trace that a request with these headers belongs to, if it belongs to one.
pub(super) fn of(headers: &HeaderMap, is_trusted: bool, ratio: Ratio) -> Option<Trace> {
    let parent = headers.get(PARENT);
    let parent = parent.and_then(|header| Trace::parse(header.as_bytes()));
    let is_sampled = match &parent {
        Some(trace) if is_trusted => trace.is_sampled(),
        _ => ratio.draw(),
    };
    let Some(trace) = parent else {
        return is_sampled.then(Trace::new_sampled);
    };
    let mut trace = trace.with_sampling(is_sampled);
    trace.state = state(headers);
    Some(trace)
}

/// The `tracestate`, unless it is long or has several lines.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(STATE).iter();
    let state = lines.next()?;
    (state.len() <= LONGEST && lines.next().is_none()).then(|| state.clone())
}

/// The span of a request, if the request is sampled.
pub(super) fn span(method: &Method, route: &str, context: &Context) -> Span {
    let trace = context.trace.as_deref();
    let Some(trace) = trace.filter(|trace| trace.is_sampled()) else {
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
    use serde_json::json;

    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| line.parse().unwrap());
        lines.map(|line| (name.clone(), line)).collect()
    }

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
            let headers = headers(&PARENT, &[parent]);
            let trace = of(&headers, is_trusted, Ratio(ratio));
            let sampled = trace.as_ref().map(Trace::is_sampled);
            assert_eq!(sampled, is_sampled, "{parent} {is_trusted} {ratio}");
            let is_continued = trace.is_some_and(|trace| SAMPLED.contains(trace.id()));
            assert_eq!(is_continued, parent != "nonsense", "{parent} {ratio}");
        }
        assert_eq!(of(&HeaderMap::new(), true, Ratio(0.0)), None);
    }

    #[test]
    fn share_of_sampled_requests_is_trace_ratio() {
        let ratio = Ratio(0.25);
        let count = (0..10_000).filter(|_| ratio.draw()).count();
        // Eleven standard deviations.
        assert!((2_000..3_000).contains(&count), "{count}");
    }

    #[test]
    fn trace_ratio_is_a_number_from_zero_to_one() {
        for (value, ratio) in [
            (json!(0.5), Some(0.5)),
            (json!(1), Some(1.0)),
            (json!(2), None),
            (json!(-0.1), None),
            (json!("0.5"), None),
        ] {
            let parsed: Option<Ratio> = serde_json::from_value(value.clone()).ok();
            assert_eq!(parsed, ratio.map(Ratio), "{value:?}");
        }
    }

    #[test]
    fn tracestate_is_passed_on_or_left_out_when_too_long() {
        let state = |lines: &[&str]| state(&headers(&STATE, lines));
        assert_eq!(state(&[]), None);
        assert_eq!(state(&["a=1,b=2"]).unwrap(), "a=1,b=2");
        assert_eq!(state(&["a=1", "b=2"]), None);
        assert_eq!(state(&[&"x".repeat(LONGEST + 1)]), None);
    }
}
