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
fn index_names_pages_that_exist() {
    let service = service().start();
    let index = get(service.http(), "/").json();
    let mut pages = vec![&index["documentation"], &index["description"]];
    pages.extend(index["probes"].as_array().unwrap());
    for page in pages {
        assert_eq!(
            get(service.http(), page.as_str().unwrap()).status,
            200,
            "{page}"
        );
    }
}

#[test]
fn metrics_md_lists_the_metrics_of_the_service() {
    let service = service().start();
    // The first greeting creates the counter: `/metrics` shows only metrics that exist.
    assert_eq!(ask(service.http(), "POST", "/v1/hello/Ada", "").status, 200);

    let page = documented(include_str!("../../docs/metrics.md"));

    assert_eq!(service.metrics().own_families(), page);
}
