//! The faulty service (`tests/faults`) with the feature `otlp`, as a real process, with a collector
//! that accepts or refuses its exports.

mod collector;
mod outages;
mod secrets;
mod tls;
mod traces;

use harness::fleet;
use harness::http::{self, Answer, Request};
use harness::service::{Launch, Service};

use crate::collector::{Collector, Span};

/// The trace id of a client. The id of its span follows.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A service that trusts this machine as a proxy, and exports to this endpoint.
fn traced(endpoint: &str) -> Launch {
    Service::of(fleet::FAULTS.binary())
        .set("otlp.endpoint", endpoint)
        .set("http.trusted_proxies", "127.0.0.1")
}

/// A collector, and a service that exports to it.
async fn exporting() -> (Collector, Service) {
    let collector = Collector::start().await.unwrap();
    let service = traced(&collector.endpoint()).ready().await;
    (collector, service)
}

/// Waits for the span with this name.
async fn span(collector: &Collector, name: &str) -> Span {
    collector.span(name, |span| span.name == name).await
}

/// Sends a request as from a proxy, with the trace sampled or not.
async fn ask(service: &Service, path: &str, is_sampled: bool) -> Answer {
    let flags = u8::from(is_sampled);
    let request = Request::get(path)
        .header("traceparent", &format!("00-{TRACE}-{PARENT}-{flags:02}"))
        .header("tracestate", "vendor=1");
    http::send(service.http().await, request).await.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}
