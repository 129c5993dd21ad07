//! Which spans are exported, how they hang together, and what the settings accept.

use opentelemetry::trace::{SpanId, SpanKind, Status};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Level, info, info_span, span};

use super::spans::LONGEST;
use super::*;
use crate::context::{Context, Trace};
use crate::settings::{REDACTED, Reference, Sources, load, print};
use crate::telemetry::span::{REQUEST, STATEMENT};
use crate::telemetry::tests::under;

/// The spans that `work` leaves, in the order of their ends.
fn spans(work: impl FnOnce()) -> Vec<SpanData> {
    let (ended, mut queue) = mpsc::channel(QUEUE);
    under(Spans::new(ended), work);
    std::iter::from_fn(|| queue.try_recv().ok()).collect()
}

fn sampled() -> (Context, Arc<Trace>) {
    let trace = Trace::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let trace = Arc::new(trace.unwrap());
    let context = Context {
        trace: Some(Arc::clone(&trace)),
        ..Context::until(Instant::now())
    };
    (context, trace)
}

fn attributes(span: &SpanData) -> Vec<String> {
    let attributes = span.attributes.iter();
    attributes
        .map(|it| format!("{}={:?}", it.key, it.value))
        .collect()
}

#[test]
fn spans_of_a_sampled_request_form_its_trace() {
    let (context, trace) = sampled();
    let spans = spans(|| {
        context.sync_scope(|| {
            let request = span!(
                Level::ERROR,
                REQUEST,
                method = "GET",
                route = "/a/{id}",
                trace_id = trace.id(),
                status = Empty,
                error = Empty,
            );
            let inside = request.enter();
            info!(cause = "canary", "events are not exported");
            span!(Level::ERROR, STATEMENT, summary = "SELECT a", line = 7_u32);
            info_span!(target: "own", "own", flag = true, r#type = "x", method = 0.5);
            drop(inside);
            request.record("status", 500_u16);
            request.record("error", "500");
        });
    });

    let [statement, own, request] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(request.name, "GET /a/{id}");
    assert_eq!(request.span_context.span_id(), SpanId::from(trace.span));
    assert_eq!(Some(request.parent_span_id), trace.parent.map(SpanId::from));
    assert!(request.parent_span_is_remote);
    assert_eq!(request.span_kind, SpanKind::Server);
    assert_eq!(request.status, Status::error(""));
    assert_eq!(
        attributes(request),
        [
            r#"http.request.method=String(Owned("GET"))"#,
            r#"http.route=String(Owned("/a/{id}"))"#,
            "http.response.status_code=I64(500)",
            r#"error.type=String(Owned("500"))"#,
        ]
    );
    assert_eq!(statement.name, "SELECT a");
    assert_eq!(statement.span_kind, SpanKind::Client);
    assert_eq!(own.name, "own");
    assert_eq!(
        attributes(own),
        [
            "flag=Bool(true)",
            r#"type=String(Owned("x"))"#,
            "method=F64(0.5)"
        ]
    );
    for child in [statement, own] {
        assert_eq!(child.parent_span_id, request.span_context.span_id());
        assert_eq!(child.span_context.trace_id().to_string(), trace.id());
        assert!(child.start_time >= request.start_time);
        assert!(child.events.is_empty() && child.status == Status::Unset);
    }
}

#[test]
fn trace_that_begins_here_has_the_id_of_the_log() {
    let trace = Arc::new(Trace::new_sampled());
    let context = Context {
        trace: Some(Arc::clone(&trace)),
        ..Context::until(Instant::now())
    };
    let spans = spans(|| {
        context.sync_scope(|| drop(span!(Level::ERROR, REQUEST, method = "GET")));
    });

    let request = &spans[0].span_context;
    assert_eq!(request.trace_id().to_string(), trace.id());
    assert_eq!(request.span_id(), SpanId::from(trace.span));
    assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
}

#[test]
fn span_of_another_task_belongs_to_the_carried_request() {
    let (context, trace) = sampled();
    let spans = spans(|| context.sync_scope(|| drop(info_span!("elsewhere"))));

    assert_eq!(spans[0].parent_span_id, SpanId::from(trace.span));
    assert_eq!(spans[0].span_context.trace_id().to_string(), trace.id());
}

#[test]
fn spans_have_a_limited_size_and_number() {
    let (context, _) = sampled();
    let long = "ä".repeat(LONGEST);
    let error = std::io::Error::other(long.clone());
    let spans = spans(|| {
        context.sync_scope(|| {
            let error = &error as &dyn std::error::Error;
            drop(info_span!("long", text = long, error));
            (0..QUEUE + 2).for_each(|_| drop(info_span!("one")));
        });
    });

    assert_eq!(spans.len(), QUEUE);
    let long = &spans[0].attributes;
    assert_eq!(long.len(), 2, "{long:?}");
    for attribute in long {
        assert_eq!(attribute.value.as_str().len(), LONGEST);
    }
}

#[tokio::test]
async fn without_an_endpoint_nothing_runs() {
    let export = Export::default();
    assert!(export.layer().is_none());
    export.clone().run().await;
    export.close(Duration::ZERO).await;
}

#[derive(Debug, serde::Deserialize, garde::Validate)]
struct Settings {
    #[garde(dive)]
    otlp: Otlp,
}

fn with_endpoint(url: &str) -> Sources {
    Sources {
        environment: vec![("APP__OTLP__ENDPOINT".into(), url.into())],
        ..Sources::default()
    }
}

#[test]
fn endpoint_without_secrets_is_accepted_and_shown() {
    for url in [
        "http://localhost:4318",
        "https://collector.example.org/otlp/",
    ] {
        let loaded = load::<Settings>(&Reference::new(&[SETTINGS]), &with_endpoint(url)).unwrap();

        assert!(print(&loaded.entries).contains(url), "{url}");
        let endpoint = loaded.settings.otlp.endpoint.unwrap();
        assert_eq!(
            endpoint.of_traces(),
            format!("{}/v1/traces", url.trim_end_matches('/'))
        );
    }
}

#[test]
fn refused_endpoint_is_never_printed() {
    for url in [
        "localhost:4318?key=canary",
        "/v1/traces?key=canary",
        "grpc://user:canary@localhost:4317",
        "http://user:canary@localhost:4318",
        "http://localhost:4318/?key=canary",
    ] {
        let problems = load::<Settings>(&Reference::new(&[SETTINGS]), &with_endpoint(url));
        let report = problems.unwrap_err().to_string();

        assert!(report.contains("otlp.endpoint"), "{report}");
        assert!(!report.contains("canary"), "{report}");
    }
}

#[test]
fn header_hides_its_value() {
    let header: Header = serde_json::from_value("x-api-key = canary=1".into()).unwrap();
    assert_eq!(
        (header.0.as_str(), header.1.as_bytes()),
        ("x-api-key", &b"canary=1"[..])
    );
    assert!(!format!("{header:?}").contains("canary"));
    let shown = format!("a={REDACTED}");
    for refused in ["x-api-key", "a b=1", "a=line\nbreak", &shown] {
        let header: Option<Header> = serde_json::from_value(refused.into()).ok();
        assert!(header.is_none(), "{refused}");
    }
}
