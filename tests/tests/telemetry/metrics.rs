//! The metrics that are exported are those that `/metrics` shows.

use std::collections::BTreeSet;

use harness::collector::{Collector, value};
use harness::http;
use harness::service::Service;

use crate::traced;

async fn exporting_often(collector: &Collector) -> Service {
    let launch = traced(&collector.endpoint()).set("otlp.interval", "1s");
    launch.start().await.unwrap().ready().await
}

#[tokio::test]
async fn metrics_arrive_with_the_values_that_the_page_shows() {
    let collector = Collector::start().await.unwrap();
    let service = exporting_often(&collector).await;
    let address = service.http().await;
    for _ in 0..3 {
        http::get(address, "/guests").await.unwrap();
    }

    let labels = [("method", "GET"), ("route", "/guests"), ("status", "2xx")];
    let duration = collector
        .metric("http_server_request_duration_seconds", |metric| {
            value(metric, &labels) == Some(3.0)
        })
        .await;
    assert_eq!(duration.unit, "s");
    assert!(
        duration.description.contains("head of a request"),
        "{duration:?}"
    );
    let shed = collector
        .metric("http_server_requests_shed_total", |metric| {
            value(metric, &[]) == Some(0.0)
        })
        .await;
    assert!(
        matches!(&shed.data, Some(harness::collector::Data::Sum(sum)) if sum.is_monotonic),
        "{shed:?}"
    );
    let state = [("state", "ready")];
    collector
        .metric("lifecycle_state", |metric| {
            value(metric, &state) == Some(1.0)
        })
        .await;

    // Those without a series are on the page only.
    let page = service.ask("/metrics").await;
    let with_series = |name: &&str| {
        let begins = |line: &str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ', '_']))
        };
        page.text().lines().any(begins)
    };
    let families = page.text().lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(name)
    });
    let shown: BTreeSet<_> = families.filter(with_series).collect();
    let heard = collector.heard();
    let exported: BTreeSet<_> = heard.metrics.iter().map(|metric| &*metric.name).collect();
    assert!(exported.len() > 30, "{exported:?}");
    assert_eq!(exported, shown);
}

#[tokio::test]
async fn what_becomes_of_exports_is_counted() {
    let collector = Collector::start().await.unwrap();
    let service = exporting_often(&collector).await;
    crate::ask(&service, "/guests", true).await;

    collector
        .metric("otlp_spans_total", |metric| {
            value(metric, &[("outcome", "sent")]) == Some(2.0)
        })
        .await;
    let taken = [("signal", "traces"), ("outcome", "taken")];
    collector
        .metric("otlp_exports_total", |metric| {
            value(metric, &taken) >= Some(1.0)
        })
        .await;
}

#[tokio::test]
async fn whoever_wants_no_metrics_gets_none() {
    let collector = Collector::start().await.unwrap();
    let launch = traced(&collector.endpoint()).set("otlp.interval", "0s");
    let service = launch.start().await.unwrap().ready().await;
    crate::ask(&service, "/guests", true).await;
    collector.requests(1).await;

    assert_eq!(service.stop().await.code, Some(0));

    let heard = collector.heard();
    assert_eq!((heard.metrics.len(), heard.spans.len()), (0, 2));
}
