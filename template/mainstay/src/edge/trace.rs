//! The sampling of traces, and the span of a request.
//!
//! A `traceparent` of a trusted proxy decides for its request; `http.trace_ratio` is the share of all others. A request
//! that is not sampled has no span and no cost, unless the log has `DEBUG` of this module.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use config::ValueKind;
use tracing::Span;

use crate::context::{Context, Trace};
use crate::settings::Setting;
use crate::telemetry::span;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest `tracestate` that is passed on.
const LONGEST: usize = 512;

/// A share of all there are: from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio(f64);

impl Ratio {
    /// Whether this one is among them.
    fn has_this(self) -> bool {
        self.0 > 0.0 && fastrand::f64() < self.0
    }
}

impl Setting for Ratio {
    const EXPECTED: &'static str = "a number from 0.0 to 1.0";

    fn parse(value: &ValueKind) -> Option<Self> {
        let ratio = match value {
            ValueKind::Float(ratio) => *ratio,
            ValueKind::I64(0) => 0.0,
            ValueKind::I64(1) => 1.0,
            _ => return None,
        };
        (0.0..=1.0).contains(&ratio).then_some(Self(ratio))
    }
}

/// The trace that a request with these headers belongs to, if it belongs to one.
pub(super) fn of(headers: &HeaderMap, is_trusted: bool, ratio: Ratio) -> Option<Trace> {
    let given = headers.get(PARENT);
    let given = given.and_then(|header| Trace::parse(header.as_bytes()));
    let is_sampled = match &given {
        Some(trace) if is_trusted => trace.is_sampled(),
        _ => ratio.has_this(),
    };
    match given {
        Some(trace) => Some(trace.with_sampling(is_sampled).with_state(state(headers))),
        None => is_sampled.then(Trace::new_sampled),
    }
}

/// What others have noted on the trace.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(STATE).iter();
    let first = lines.next()?.clone();
    let whole = lines.try_fold(first, |whole, line| {
        let both = [whole.as_bytes(), b",", line.as_bytes()].concat();
        HeaderValue::from_maybe_shared(both).ok()
    });
    whole.filter(|whole| whole.len() <= LONGEST)
}

/// Around a request, if it is followed or the log wants it.
pub(super) fn span(request: &Request, route: &str, context: &Context) -> Span {
    let method = request.method().as_str();
    let trace = context.trace.as_deref();
    let trace_id = trace.map(Trace::id);
    macro_rules! span {
        ($level:ident) => {
            tracing::span!(
                tracing::Level::$level,
                span::REQUEST,
                method,
                route,
                request_id = context.id.as_ref(),
                trace_id,
                status = tracing::field::Empty,
                error = tracing::field::Empty,
            )
        };
    }
    if trace.is_some_and(Trace::is_sampled) {
        // Whoever makes something of it looks at whose it is. No filter but `off` is above this level.
        context.clone().sync_scope(|| span!(ERROR))
    } else {
        span!(DEBUG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const PASSED_OVER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| line.parse().unwrap());
        lines.map(|line| (name.clone(), line)).collect()
    }

    #[test]
    fn a_proxy_that_is_trusted_decides_and_nobody_else() {
        for (parent, is_trusted, ratio, is_sampled) in [
            (SAMPLED, true, 0.0, Some(true)),
            (PASSED_OVER, true, 1.0, Some(false)),
            (SAMPLED, false, 0.0, Some(false)),
            (PASSED_OVER, false, 1.0, Some(true)),
            ("nonsense", true, 0.0, None),
            ("nonsense", true, 1.0, Some(true)),
        ] {
            let headers = headers(&PARENT, &[parent]);
            let trace = of(&headers, is_trusted, Ratio(ratio));
            let sampled = trace.as_ref().map(Trace::is_sampled);
            assert_eq!(sampled, is_sampled, "{parent} {is_trusted} {ratio}");
            let goes_on = trace.is_some_and(|trace| SAMPLED.contains(trace.id()));
            assert_eq!(goes_on, parent != "nonsense", "{parent} {ratio}");
        }
        assert_eq!(of(&HeaderMap::new(), true, Ratio(0.0)), None);
    }

    #[test]
    fn about_as_many_are_followed_as_wanted() {
        let ratio = Ratio(0.25);
        let count = (0..10_000).filter(|_| ratio.has_this()).count();
        // Eleven standard deviations.
        assert!((2_000..3_000).contains(&count), "{count}");
    }

    #[test]
    fn a_ratio_is_one_or_is_refused() {
        for (value, ratio) in [
            (ValueKind::Float(0.5), Some(0.5)),
            (ValueKind::I64(1), Some(1.0)),
            (ValueKind::I64(2), None),
            (ValueKind::Float(-0.1), None),
            (ValueKind::Float(f64::NAN), None),
            ("0.5".into(), None),
        ] {
            let parsed: Option<Ratio> = Setting::parse(&value);
            assert_eq!(parsed, ratio.map(Ratio), "{value:?}");
        }
    }

    #[test]
    fn what_others_have_noted_is_one_line_or_is_left_out() {
        let noted = |lines: &[&str]| state(&headers(&STATE, lines));
        assert_eq!(noted(&[]), None);
        assert_eq!(noted(&["a=1"]).unwrap(), "a=1");
        assert_eq!(noted(&["a=1", "b=2,c=3"]).unwrap(), "a=1,b=2,c=3");
        assert_eq!(noted(&["a=1", &"x".repeat(LONGEST)]), None);
    }
}
