//! A collector that is not there, or does not do what it should, is the concern of nobody but the
//! export.

use std::time::{Duration, Instant};

use harness::collector::{Collector, Manner, Metric, value};
use harness::service::{Service, Signal};

use crate::{ask, exporting_to, traced};

/// How long many requests take, one after the other.
async fn many(service: &Service) -> Duration {
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(ask(service, "/guests", true).await.status, 200);
    }
    begun.elapsed()
}

fn count(service: &Service, message: &str) -> usize {
    let events = service.log().events();
    events
        .iter()
        .filter(|event| event.message == message)
        .count()
}

#[tokio::test]
async fn an_outage_is_told_once_and_over_when_it_is_over() {
    let gone = Collector::start().await.unwrap();
    let address = gone.address();
    let endpoint = gone.endpoint();
    drop(gone);
    let service = traced(&endpoint).start().await.unwrap().ready().await;
    ask(&service, "/guests", true).await;
    let event = service.event("export fails").await;
    assert_eq!(event.level, "WARN", "{event}");
    assert_eq!(event.field("signal"), "traces", "{event}");
    assert!(
        event.field("cause").to_string().contains("refused"),
        "{event}"
    );

    // Meanwhile another attempt or two fail.
    let metrics = service.ask("/metrics").await;
    assert!(
        metrics
            .text()
            .contains(r#"otlp_exports_total{signal="traces",outcome="failed"}"#)
    );
    let collector = Collector::at(address).await.unwrap();
    collector.manner(Manner::Refuses(503));
    collector.requests(2).await;
    collector.manner(Manner::Takes);

    // What has happened in the outage arrives after it.
    collector
        .span("span of the outage", |span| span.name == "GET /guests")
        .await;
    service.event("export works again").await;
    assert_eq!(count(&service, "export fails"), 1);
    assert_eq!(service.stop().await.code, Some(0));
    let heard = collector.heard();
    assert_eq!(heard.spans.len(), 2, "nothing twice: {:#?}", heard.spans);
}

#[tokio::test]
async fn a_collector_that_never_answers_costs_requests_nothing_and_little_memory() {
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

    // The best of them is no slower than before there was anything to export.
    assert!(then < first * 2, "{then:?} after {first:?}");
    let grown = service.rss().saturating_sub(before);
    // Two thousand spans are kept, and more than five thousand have ended.
    assert!(grown < 8 << 20, "it has grown by {grown} bytes");
    let metrics = service.ask("/metrics").await;
    let lost = metrics.text().lines().find_map(|line| {
        line.strip_prefix(r#"otlp_spans_total{outcome="lost"} "#)?
            .parse::<u64>()
            .ok()
    });
    assert!(lost > Some(2_000), "{lost:?}");
}

#[tokio::test]
async fn what_is_refused_for_good_is_lost_and_not_sent_again() {
    let collector = Collector::start().await.unwrap();
    collector.manner(Manner::Refuses(400));
    let launch = traced(&collector.endpoint()).set("otlp.interval", "1s");
    let service = launch.start().await.unwrap().ready().await;
    ask(&service, "/guests", true).await;
    service
        .wait_for("the refusal of traces", |event| {
            event.message == "export fails" && event.field("signal") == "traces"
        })
        .await;
    collector.manner(Manner::Takes);

    collector
        .metric("otlp_spans_total", |metric| {
            value(metric, &[("outcome", "lost")]) == Some(2.0)
        })
        .await;
    assert!(collector.heard().spans.is_empty());
}

#[tokio::test]
async fn what_is_rejected_of_what_was_taken_is_lost_and_told() {
    let collector = Collector::start().await.unwrap();
    collector.manner(Manner::Rejects(1));
    let launch = traced(&collector.endpoint()).set("otlp.interval", "1s");
    let service = launch.start().await.unwrap().ready().await;
    ask(&service, "/guests", true).await;
    for signal in ["traces", "metrics"] {
        let event = service.wait_for("what was rejected", |event| {
            event.message == "export fails" && event.field("signal") == signal
        });
        let cause = event.await.field("cause").to_string();
        assert!(cause.contains("it rejected 1: too old"), "{cause}");
    }

    // Of the two spans, one; or both, if they came in two requests.
    let is_counted = |metric: &Metric| {
        let spans = |outcome| value(metric, &[("outcome", outcome)]);
        spans("lost") >= Some(1.0)
            && spans("lost").zip(spans("sent")).map(|(a, b)| a + b) == Some(2.0)
    };
    collector.metric("otlp_spans_total", is_counted).await;
    let failed = [("signal", "metrics"), ("outcome", "failed")];
    collector
        .metric("otlp_exports_total", |metric| {
            value(metric, &failed) >= Some(1.0)
        })
        .await;
    collector.manner(Manner::Takes);
    service
        .wait_for("the end of it", |event| {
            event.message == "export works again" && event.field("signal") == "metrics"
        })
        .await;
}

#[tokio::test]
async fn a_service_that_cannot_export_serves_and_stops_by_its_deadline() {
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
