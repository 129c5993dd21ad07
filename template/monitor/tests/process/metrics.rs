//! What this service counts, as Prometheus asks for it.

use mainstay::testing::{check_metrics, get};

use crate::monitor;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));

#[test]
fn every_metric_is_documented() {
    let service = monitor().start();
    assert_eq!(get(service.http(), "/v1/targets").status, 200);
    check_metrics(&service.metrics(), PAGE);
}
