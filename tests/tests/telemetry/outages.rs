//! A collector that is away, refuses or stalls affects only the export.

use std::time::{Duration, Instant};

use harness::log::Event;
use harness::service::{Service, Signal};

use crate::collector::{Collector, Manner};
use crate::{ask, exporting_to, traced};

/// The time of many requests, one after another.
async fn many(service: &Service) -> Duration {
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(ask(service, "/guests", true).await.status, 200);
    }
    begun.elapsed()
}

fn count(service: &Service, message: &str) -> usize {
    let is_meant = |event: &Event| event.message == message;
    service.log().events().into_iter().filter(is_meant).count()
}

#[tokio::test]
async fn an_outage_of_the_collector_is_logged_once() {
    let gone = Collector::start().await.unwrap();
    let address = gone.address;
    let endpoint = gone.endpoint();
    drop(gone);
    let service = traced(&endpoint).start().await.unwrap().ready().await;
    ask(&service, "/guests", true).await;
    let event = service.event("export fails").await;
    assert_eq!(event.level, "WARN", "{event}");
    assert_eq!(event.field("signal"), "traces", "{event}");
    let cause = event.field("cause").to_string();
    assert!(cause.contains("refused"), "{event}");
    service
        .metric(r#"otlp_exports_total{signal="traces",outcome="failed"}"#)
        .await;
    let collector = Collector::at(address).await.unwrap();
    collector.manner(Manner::Refuses(503));
    ask(&service, "/guests", true).await;
    collector.requests(2).await;
    collector.manner(Manner::Takes);

    // The service sends the next spans when it retries.
    ask(&service, "/guests", true).await;
    collector
        .span("span after the outage", |span| span.name == "GET /guests")
        .await;
    service.event("export works again").await;
    assert_eq!(count(&service, "export fails"), 1);
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_stalled_collector_slows_no_request_and_takes_little_memory() {
    let collector = Collector::start().await.unwrap();
    collector.manner(Manner::Stalls);
    let service = exporting_to(&collector).await;
    let first = many(&service).await;
    collector.requests(1).await;
    let before = service.rss();

    let mut then = Duration::MAX;
    for _ in 0..12 {
        then = then.min(many(&service).await);
    }

    // The fastest round is no slower than before the export stalled.
    assert!(then < first * 2, "{then:?} after {first:?}");
    let grown = service.rss().saturating_sub(before);
    // Two thousand spans are queued, and more than five thousand have ended.
    assert!(grown < 8 << 20, "memory has grown by {grown} bytes");
    let lost = service.metric(r#"otlp_spans_total{outcome="lost"}"#).await;
    assert!(lost > 2_000.0, "{lost}");
}

#[tokio::test]
async fn a_stalled_collector_delays_the_stop_until_its_deadline() {
    let collector = Collector::start().await.unwrap();
    collector.manner(Manner::Stalls);
    let launch = traced(&collector.endpoint()).set("shutdown.close", "1s");
    let service = launch.start().await.unwrap().ready().await;
    ask(&service, "/guests", true).await;
    collector.requests(1).await;

    service.signal(Signal::TERM);
    let exit = service.exit().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    let took = exit.took;
    assert!(took < Duration::from_millis(1800), "{took:?}: {exit}");
    let lost = exit.event("spans were lost").unwrap();
    assert_eq!(lost.field("lost"), 2, "{exit}");
    assert_eq!(exit.events.last().unwrap().message, "stopped", "{exit}");
}
