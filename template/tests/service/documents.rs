//! The documents match the service: the description of its API, and the list of its metrics.

use mainstay::testing::{ask, check_committed, documented, get};

use crate::service;

#[test]
fn openapi_json_is_what_the_service_serves() {
    let service = service().start();
    let served = get(service.http(), "/openapi.json");
    assert_eq!(served.status, 200, "{}", served.body);
    check_committed(
        concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json"),
        &served.body,
    );
}

#[test]
fn metrics_md_lists_the_metrics_of_the_service() {
    let service = service().start();
    // The first greeting creates the counter: `/metrics` shows only metrics that exist.
    assert_eq!(ask(service.http(), "POST", "/v1/hello/Ada", "").status, 200);

    let page = documented(include_str!("../../docs/metrics.md"));

    assert_eq!(service.metrics().own_families(), page);
}
