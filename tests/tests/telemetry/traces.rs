//! The spans of a request.

use harness::http;
use harness::service::Signal;

use crate::collector::{Collector, Span, attribute};
use crate::{PARENT, TRACE, ask, exporting, hex, span, traced};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

fn is_failed(span: &Span) -> bool {
    let status = span.status.as_ref();
    status.is_some_and(|status| status.code == ERROR)
}

#[track_caller]
fn says(span: &Span, name: &str, value: &str) {
    let said = attribute(&span.attributes, name);
    assert_eq!(said.as_deref(), Some(value), "{name} of {span:#?}");
}

#[tokio::test]
async fn a_sampled_request_is_exported_with_parent_and_statements() {
    let (collector, service) = exporting().await;

    let answer = ask(&service, "/guests", true).await;
    let request = span(&collector, "GET /guests").await;
    let statement = span(&collector, "sqlite svc-faults/src/faults/traces.rs").await;

    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!((request.kind, is_failed(&request)), (SERVER, false));
    says(&request, "http.request.method", "GET");
    says(&request, "http.route", "/guests");
    says(&request, "http.response.status_code", "200");
    let id = answer.header("x-request-id").unwrap();
    says(&request, "request_id", id);
    assert_eq!(statement.trace_id, request.trace_id);
    assert_eq!(statement.parent_span_id, request.span_id);
    assert_eq!((statement.kind, is_failed(&statement)), (CLIENT, false));
    assert!(statement.start_time_unix_nano >= request.start_time_unix_nano);
    assert!(statement.end_time_unix_nano <= request.end_time_unix_nano);
    says(&statement, "db.system.name", "sqlite");
    let file = "svc-faults/src/faults/traces.rs";
    says(&statement, "code.file.path", file);
    let resource = collector.heard().resource;
    let said = |name| attribute(&resource, name).unwrap_or_default();
    assert_eq!(said("service.name"), "svc-faults");
    assert_eq!(said("service.version"), "0.1.0");
    assert_eq!(said("service.instance.id").len(), 32);

    let exit = service.stop().await;
    let event = exit.event("request").unwrap();
    assert_eq!(event.field("trace_id"), TRACE, "{event}");
}

#[tokio::test]
async fn requests_that_are_not_sampled_are_not_exported() {
    let (collector, trusting) = exporting().await;
    let launch = traced(&collector.endpoint()).set("http.trusted_proxies", "");
    let suspicious = launch.ready().await;

    ask(&trusting, "/guests", false).await;
    http::get(trusting.http().await, "/guests").await.unwrap();
    // The sampling flag of an untrusted client is ignored.
    ask(&suspicious, "/guests", true).await;
    // The stop exports the queued spans.
    for service in [trusting, suspicious] {
        assert_eq!(service.stop().await.code, Some(0));
    }

    let heard = collector.heard();
    assert!(heard.spans.is_empty(), "{:#?}", heard.spans);
}

#[tokio::test]
async fn the_configured_ratio_is_exported_whatever_the_log_filter() {
    let collector = Collector::start().await.unwrap();
    let launch = traced(&collector.endpoint())
        .set("http.trace_ratio", "1.0")
        .set("otlp.service", "shop")
        .set("otlp.attributes", "deployment.environment.name=staging")
        .set("log.filter", "error,mainstay::server=info");
    let service = launch.start().await.unwrap();

    let answer = http::get(service.http().await, "/guests").await.unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    let request = span(&collector, "GET /guests").await;

    assert!(request.parent_span_id.is_empty(), "{request:#?}");
    assert_eq!(request.trace_id.len(), 16, "{request:#?}");
    let resource = collector.heard().resource;
    let said = |name| attribute(&resource, name).unwrap_or_default();
    assert_eq!(said("service.name"), "shop");
    assert_eq!(said("deployment.environment.name"), "staging");
    let exit = service.stop().await;
    assert!(exit.event("request").is_none(), "{exit}");
}

#[tokio::test]
async fn a_failed_request_is_a_failed_span() {
    let (collector, service) = exporting().await;

    for (path, status) in [("/fail", "502"), ("/panic", "500"), ("/broken", "500")] {
        ask(&service, path, true).await;
        let span = span(&collector, &format!("GET {path}")).await;
        assert!(is_failed(&span), "{span:#?}");
        says(&span, "http.response.status_code", status);
        says(&span, "error.type", status);
    }
    // A client error does not mark the span as failed.
    ask(&service, "/nowhere", true).await;
    let span = span(&collector, "GET unmatched").await;
    assert!(!is_failed(&span), "{span:#?}");
    says(&span, "http.response.status_code", "404");
    let broken = collector
        .span("statement", |span| span.kind == CLIENT)
        .await;
    assert!(is_failed(&broken), "{broken:#?}");
    says(&broken, "error.type", "1");
}

#[tokio::test]
async fn outgoing_requests_continue_the_trace() {
    let (collector, service) = exporting().await;

    let answer = ask(&service, "/call/Ada", true).await;
    let call = span(&collector, "call").await;
    let request = span(&collector, "GET /call/{name}").await;

    assert_eq!(call.parent_span_id, request.span_id);
    says(&call, "peer", "inventory");
    let sent = format!("00-{TRACE}-{}-01", hex(&request.span_id));
    assert_eq!(answer.header("sent-traceparent"), Some(&*sent));
    assert_eq!(answer.header("sent-tracestate"), Some("vendor=1"));
    // Events inside of the request have its trace id and its fields.
    let event = service.event("calling").await;
    assert_eq!(event.field("trace_id"), TRACE, "{event}");
    assert_eq!(event.field("route"), "/call/{name}", "{event}");
    assert_eq!(event.field("peer"), "inventory", "{event}");

    let answer = ask(&service, "/call/Ada", false).await;
    let passed_on = answer.header("sent-traceparent").unwrap();
    let is_of_trace = passed_on.starts_with(&format!("00-{TRACE}-"));
    assert!(is_of_trace && passed_on.ends_with("-00"), "{passed_on}");
}

#[tokio::test]
async fn a_request_in_flight_at_the_signal_is_exported() {
    let (collector, service) = exporting().await;
    let (answer, ()) = tokio::join!(ask(&service, "/slow?ms=1000", true), async {
        service.event("slow begun").await;
        service.signal(Signal::TERM);
    });
    assert_eq!(answer.text(), "done");

    let exit = service.exit().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    let heard = collector.heard();
    let names: Vec<_> = heard.spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["GET /slow"]);
    assert!(exit.event("spans were lost").is_none(), "{exit}");
}
