//! A collector that is away, refuses or stalls affects only the export.

use std::time::{Duration, Instant};

use harness::service::Service;

use crate::collector::{Collector, Manner};
use crate::{ask, exporting, span, traced};

/// The time of many requests, one after another.
async fn many(service: &Service) -> Duration {
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(ask(service, "/guests", true).await.status, 200);
    }
    begun.elapsed()
}

#[tokio::test]
async fn an_outage_of_the_collector_is_logged_once() {
    let (collector, service) = exporting().await;
    let address = collector.address;
    drop(collector);
    ask(&service, "/guests", true).await;
    let event = service.event("export fails").await;
    assert_eq!(event.level, "WARN", "{event}");
    assert_eq!(event.field("signal"), "traces", "{event}");
    let cause = event.field("cause").to_string();
    assert!(cause.contains("refused"), "{event}");
    let failed = r#"otlp_exports_total{signal="traces",outcome="failed"}"#;
    service.metric(failed).await;
    let collector = Collector::at(address).await.unwrap();
    collector.manner(Manner::Refuses(503));
    ask(&service, "/guests", true).await;
    collector.requests(2).await;
    collector.manner(Manner::Takes);

    // The service sends the next spans when it retries.
    ask(&service, "/guests", true).await;
    span(&collector, "GET /guests").await;
    service.event("export works again").await;
    let exit = service.stop().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    let failures = exit
        .events
        .iter()
        .filter(|event| event.message == "export fails");
    assert_eq!(failures.count(), 1, "{exit}");
}

#[tokio::test]
async fn a_stalled_collector_slows_no_request_and_takes_little_memory() {
    let (collector, service) = exporting().await;
    collector.manner(Manner::Stalls);
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
    let service = launch.ready().await;
    ask(&service, "/guests", true).await;
    collector.requests(1).await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    let took = exit.took;
    assert!(took < Duration::from_millis(1800), "{took:?}: {exit}");
    let lost = exit.event("spans were lost").unwrap();
    assert_eq!(lost.field("lost"), 2, "{exit}");
    assert_eq!(exit.events.last().unwrap().message, "stopped", "{exit}");
}

#[tokio::test]
async fn a_collector_that_is_away_does_not_delay_the_stop() {
    let (collector, service) = exporting().await;
    ask(&service, "/guests", true).await;
    collector.requests(1).await;
    drop(collector);

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(exit.took < Duration::from_secs(1), "{exit}");
}
