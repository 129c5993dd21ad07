//! Which spans are exported, how they hang together, and what the settings accept.

use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Level, info, info_span, span};

use super::spans::LONGEST;
use super::*;
use crate::context::{RequestContext, Trace};
use crate::settings::{REDACTED, Sources, Table, load, print};
use crate::telemetry::span::{REQUEST, STATEMENT};
use crate::tests::under;

/// The spans that `work` leaves in a request with this trace, in the order of their ends.
fn spans(trace: &Arc<Trace>, work: impl FnOnce()) -> Vec<Span> {
    let (ended, mut queue) = mpsc::channel(QUEUE);
    let context = RequestContext {
        trace: Some(Arc::clone(trace)),
        ..RequestContext::until(Instant::now())
    };
    under(Spans(ended), || context.sync_scope(work));
    std::iter::from_fn(|| queue.try_recv().ok()).collect()
}

/// A trace that another service has begun.
fn sampled() -> Arc<Trace> {
    let trace = Trace::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    Arc::new(trace.unwrap())
}

fn attributes(span: &Span) -> Vec<String> {
    let attributes = span.attributes.iter();
    let value = |value: &Option<AnyValue>| value.clone().and_then(|it| it.value);
    attributes
        .map(|it| format!("{}={:?}", it.key, value(&it.value).unwrap()))
        .collect()
}

fn bytes(id: u64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

fn trace_bytes(trace: &Trace) -> Vec<u8> {
    let id = u128::from_str_radix(&trace.id, 16).unwrap();
    id.to_be_bytes().to_vec()
}

#[test]
fn spans_of_a_sampled_request_form_its_trace() {
    let trace = sampled();
    let spans = spans(&trace, || {
        let request = span!(
            Level::ERROR,
            REQUEST,
            method = "GET",
            route = "/a/{id}",
            trace_id = trace.id,
            status = Empty,
            error = Empty,
        );
        let inside = request.enter();
        info!(cause = "canary", "events are not exported");
        let (file, line) = ("src/a.rs", 7_u32);
        span!(Level::ERROR, STATEMENT, system = "sqlite", file, line);
        info_span!(target: "own", "own", flag = true, r#type = "x", method = 0.5);
        drop(inside);
        request.record("status", 500_u16);
        request.record("error", "500");
    });

    let [statement, own, request] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(request.name, "GET /a/{id}");
    assert_eq!(request.span_id, bytes(trace.span));
    assert_eq!(request.parent_span_id, bytes(trace.parent.unwrap()));
    assert_eq!(request.flags, 1);
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(request.status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(
        attributes(request),
        [
            r#"http.request.method=StringValue("GET")"#,
            r#"http.route=StringValue("/a/{id}")"#,
            "http.response.status_code=IntValue(500)",
            r#"error.type=StringValue("500")"#,
        ]
    );
    assert_eq!(statement.name, "sqlite src/a.rs");
    assert_eq!(statement.kind(), SpanKind::Client);
    assert_eq!((&*own.name, own.kind()), ("own", SpanKind::Internal));
    assert_eq!(
        attributes(own),
        [
            "flag=BoolValue(true)",
            r#"type=StringValue("x")"#,
            "method=DoubleValue(0.5)"
        ]
    );
    for child in [statement, own] {
        assert_eq!(child.parent_span_id, request.span_id);
        assert_eq!(child.trace_id, trace_bytes(&trace));
        assert!(child.start_time_unix_nano >= request.start_time_unix_nano);
        assert!(child.end_time_unix_nano >= child.start_time_unix_nano);
        assert!(child.events.is_empty() && child.status.is_none());
    }
}

#[test]
fn trace_that_begins_here_has_the_id_of_the_log() {
    let trace = Arc::new(Trace::new_sampled());
    let spans = spans(&trace, || {
        drop(span!(Level::ERROR, REQUEST, method = "GET"));
    });

    assert_eq!(spans[0].trace_id, trace_bytes(&trace));
    assert_eq!(spans[0].span_id, bytes(trace.span));
    assert!(spans[0].parent_span_id.is_empty());
}

#[test]
fn span_of_another_task_belongs_to_the_carried_request() {
    let trace = sampled();
    let spans = spans(&trace, || drop(info_span!("elsewhere")));

    assert_eq!(spans[0].parent_span_id, bytes(trace.span));
    assert_eq!(spans[0].trace_id, trace_bytes(&trace));
}

#[test]
fn spans_have_a_limited_size_and_number() {
    let long = "ä".repeat(LONGEST);
    let error = std::io::Error::other(long.clone());
    let spans = spans(&sampled(), || {
        let error = &error as &dyn std::error::Error;
        drop(info_span!("long", text = long, error));
        (0..QUEUE + 2).for_each(|_| drop(info_span!("one")));
    });

    assert_eq!(spans.len(), QUEUE);
    let long = attributes(&spans[0]);
    assert_eq!(long.len(), 2, "{long:?}");
    for attribute in long {
        assert_eq!(attribute.matches('ä').count(), LONGEST / 2);
    }
}

#[derive(Debug, serde::Deserialize, garde::Validate)]
struct Settings {
    #[garde(dive)]
    otlp: Otlp,
}

#[test]
fn refused_endpoint_is_never_printed() {
    let load_with = |url: &str| {
        let sources = Sources {
            environment: [("APP__OTLP__ENDPOINT".into(), url.into())].into(),
            ..Sources::default()
        };
        load::<Settings>(Table::new(&[SETTINGS]), &sources)
    };
    for url in ["http://localhost:4318", "https://example.org/otlp/"] {
        let loaded = load_with(url).unwrap();

        assert!(print(&loaded.entries).contains(url), "{url}");
        assert_eq!(loaded.settings.otlp.endpoint.unwrap().0, url);
    }
    for url in [
        "localhost:4318?key=canary",
        "/v1/traces?key=canary",
        "grpc://user:canary@localhost:4317",
        "http://user:canary@localhost:4318",
        "http://localhost:4318/?key=canary",
    ] {
        let report = load_with(url).unwrap_err();

        assert!(report.contains("otlp.endpoint"), "{report}");
        assert!(!report.contains("canary"), "{report}");
    }
}

#[test]
fn header_hides_its_value() {
    let header: Header = serde_json::from_value("x-api-key = canary=1".into()).unwrap();
    assert_eq!(header.0, "x-api-key");
    assert_eq!(header.1, "canary=1");
    assert!(!format!("{header:?}").contains("canary"));
    let shown = format!("a={REDACTED}");
    for refused in ["x-api-key", "a b=1", "a=line\nbreak", &shown] {
        let header: Option<Header> = serde_json::from_value(refused.into()).ok();
        assert!(header.is_none(), "{refused}");
    }
}
