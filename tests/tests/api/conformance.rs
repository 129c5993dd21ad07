//! A service conforms to its API description: it accepts valid requests, refuses invalid ones, and
//! sends only documented responses.

use std::fs;

use harness::fleet::{self, Member};
use harness::http::get;
use harness::postgres::Postgres;
use harness::repository;
use harness::service::{Launch, Service};
use serde_json::{Value, json};

use crate::schemathesis;

#[tokio::test]
async fn monitor_matches_its_api_description() {
    assert_conforms(crate::service(), "monitor/openapi.json").await;
}

#[tokio::test]
async fn hello_matches_its_api_description() {
    assert_conforms(Service::of(fleet::HELLO.binary()), "openapi.json").await;
}

#[tokio::test]
async fn monitor_on_postgres_matches_its_api_description() {
    let postgres = Postgres::start().await.unwrap();
    let launch = on_postgres(fleet::MONITOR_ON_POSTGRES, &postgres);
    let launch = launch.set("monitor.scheduled", false);
    assert_conforms(launch, "monitor/openapi.json").await;
}

#[tokio::test]
async fn hello_on_postgres_matches_its_api_description() {
    let postgres = Postgres::start().await.unwrap();
    let launch = on_postgres(fleet::HELLO_ON_POSTGRES, &postgres);
    assert_conforms(launch, "openapi.json").await;
}

fn on_postgres(member: Member, postgres: &Postgres) -> Launch {
    Service::of(member.binary()).env("APP__DATABASE__URL", postgres.url("postgres"))
}

/// Asserts that the service serves the committed description, whatever its name and its database,
/// and conforms to it.
async fn assert_conforms(launch: Launch, committed: &str) {
    let service = launch.ready().await;
    let url = format!("http://{}", service.http().await);
    let place = format!("{url}/openapi.json");
    let said = get(service.http().await, "/openapi.json").await.unwrap();
    let committed = fs::read_to_string(repository::template().join(committed)).unwrap();
    assert!(said.text() == committed, "not the committed one: {said}");
    let api = said.json();

    let found = schemathesis::ask(&place, &url);

    assert!(found.is_fine, "{}", found.report);
    let paths = api["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let operations: Vec<_> = operations.collect();
    // A stream does not end, so Schemathesis would wait for ever: see tests/schemathesis.toml.
    let streams = operations.iter().filter(|operation| {
        operation["responses"]["200"]["content"]["text/event-stream"].is_object()
    });
    let total = operations.len();
    let all = format!("{} selected / {total} total", total - streams.count());
    let report = &found.report;
    assert!(report.contains(&all), "{all} is not in:\n{report}");
    let exit = service.stop().await;
    assert_eq!(exit.code, Some(0), "{exit}");
}

/// Proves that the other tests can fail: the service violates this description.
#[tokio::test]
async fn conformance_test_detects_a_false_description() {
    let service = crate::service().ready().await;
    let address = service.http().await;
    let mut api = get(address, "/openapi.json").await.unwrap().json();
    let create = "/paths/~1v1~1targets/post/responses";
    let mut change = |place: &str, change: &dyn Fn(&mut Value)| {
        change(api.pointer_mut(place).expect(place));
    };
    change(create, &|answers| {
        answers.as_object_mut().unwrap().remove("4XX");
    });
    change(&format!("{create}/201/headers"), &|headers| {
        headers["x-more"] = json!({ "required": true, "schema": { "type": "string" } });
    });
    change("/components/schemas/Target/properties/id", &|id| {
        *id = json!({ "type": "string" });
    });
    change("/paths/~1v1~1targets/get", &|list| {
        let page = json!({ "type": "integer" });
        let page = json!({ "name": "page", "in": "query", "required": true, "schema": page });
        list["parameters"] = json!([page]);
    });
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("openapi.json");
    fs::write(&place, api.to_string()).unwrap();

    let url = format!("http://{address}");
    let found = schemathesis::ask(&place.display().to_string(), &url);

    assert!(!found.is_fine, "{}", found.report);
    for fault in [
        "Undocumented status code",
        "Missing required response headers",
        "Response violates schema",
        "Schema-violating request accepted",
    ] {
        let report = &found.report;
        assert!(report.contains(fault), "{fault} is not in:\n{report}");
    }
}
