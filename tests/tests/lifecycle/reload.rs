//! Changes to a running process: settings by SIGHUP, and a temporary log filter by the operator.

use harness::eventually;
use harness::http::{Answer, Request, send};
use harness::service::{Service, Signal};
use serde_json::{Value, json};

use crate::{clean, faulty, get, running};

#[tokio::test]
async fn sighup_reloads_the_log_filter() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.toml");
    let filter = |filter: &str| std::fs::write(&file, format!("log.filter = \"{filter}\"\n"));
    filter("info").unwrap();
    let service = running(faulty().arg("--config").arg(&file)).await;
    get(&service, "/say").await;

    filter("debug").unwrap();
    service.signal(Signal::HUP);
    eventually("the event at DEBUG", async || {
        get(&service, "/say").await;
        let said = service.log().events();
        said.into_iter().find(|event| event.message == "said")
    })
    .await;

    // An invalid filter is logged, and changes nothing.
    filter("inof").unwrap();
    let log = service.log().from_now();
    service.signal(Signal::HUP);
    log.wait_for("a complaint", |event| {
        event.level != "DEBUG" && event.to_string().contains("log.filter")
    })
    .await;
    let log = service.log().from_now();
    get(&service, "/say").await;
    log.event("said").await;
    clean(&service.stop().await);
}

#[tokio::test]
async fn sighup_names_settings_that_need_a_restart() {
    const NEEDS_RESTART: &str = "changed settings that need a restart";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("log.filter = \"info\"\noperator.token = \"canary-1\"\n");
    let service = running(faulty().arg("--config").arg(&file)).await;

    write("log.filter = \"debug\"\noperator.token = \"canary-1\"\n");
    service.signal(Signal::HUP);
    service.event("reloaded").await;

    write("log.filter = \"info\"\nhttp.max_wait = \"77ms\"\noperator.token = \"canary-2\"\n");
    let log = service.log().from_now();
    service.signal(Signal::HUP);
    let event = log.event(NEEDS_RESTART).await;
    assert_eq!(event.level, "WARN", "{event}");
    assert_eq!(event.field("settings"), "http.max_wait, operator.token");
    log.event("reloaded").await;
    let exit = service.stop().await;
    clean(&exit);
    let events = exit
        .events
        .iter()
        .filter(|event| event.message == NEEDS_RESTART);
    assert_eq!(
        events.count(),
        1,
        "a setting that needs no restart was logged"
    );
    for event in &exit.events {
        let text = event.to_string();
        assert!(!text.contains("canary") && !text.contains("77ms"), "{text}");
    }
}

/// Sets a temporary log filter.
async fn put(service: &Service, wish: &Value) -> Answer {
    let request = Request::put("/api/log-filter").json(wish);
    send(service.operator().await, request).await.unwrap()
}

/// The current filter, and whether it is temporary.
async fn current_filter(service: &Service) -> (Value, bool) {
    let mut state = service.ask("/api/log-filter").await.json();
    assert_eq!(state["configured"], "info", "{state}");
    (state["filter"].take(), !state["reverts_in"].is_null())
}

#[tokio::test]
async fn operator_changes_the_log_filter_for_a_while() {
    let service = running(faulty().set("log.filter", "info")).await;
    assert_eq!(current_filter(&service).await, (json!("info"), false));

    // A wrong request changes nothing.
    for (wish, expected) in [
        (json!({ "filter": "inof" }), "levels by target"),
        (json!({ "filter": "" }), "levels by target"),
        (json!({ "filter": "debug", "for": "25h" }), "24h"),
        (json!({ "filter": "debug", "for": "0s" }), "24h"),
        (json!({ "filter": "debug", "for": "soon" }), "24h"),
        (json!({ "filter": "debug", "fro": "1h" }), "is unknown"),
        (json!({ "for": "1h" }), "is missing"),
    ] {
        let answer = put(&service, &wish).await;
        assert_eq!(answer.status, 422, "{wish}: {answer}");
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{answer}");
        assert!(answer.text().contains(expected), "{wish}: {answer}");
        assert_eq!(
            current_filter(&service).await,
            (json!("info"), false),
            "{wish}"
        );
    }

    let answer = put(&service, &json!({ "filter": "debug", "for": "1h" })).await;
    assert_eq!(answer.status, 200, "{answer}");
    let left = answer.json()["reverts_in"].as_u64().unwrap();
    assert!((3590..=3600).contains(&left), "{answer}");
    let event = service.event("refiltered").await;
    assert_eq!(event.field("by"), "the operator", "{event}");
    assert_eq!(
        (event.field("filter"), event.field("for")),
        (&json!("debug"), &json!("1h"))
    );
    get(&service, "/say").await;
    let said = service.event("said").await;
    // Sampling is disabled, yet the event has the fields of its request.
    assert_eq!(said.field("route"), "/say", "{said}");
    assert_eq!(said.field("method"), "GET", "{said}");
    assert!(said.field("request_id").is_string(), "{said}");
    assert_eq!(current_filter(&service).await, (json!("debug"), true));

    // The duration has a default.
    let answer = put(&service, &json!({ "filter": "error" })).await;
    let left = answer.json()["reverts_in"].as_u64().unwrap();
    assert!((890..=900).contains(&left), "{answer}");
    assert_eq!(current_filter(&service).await, (json!("error"), true));

    // The filter expires by itself.
    let log = service.log().from_now();
    put(&service, &json!({ "filter": "debug", "for": "1s" })).await;
    let is_over = |event: &_| is_refiltered_by(event, "the end of its time");
    let event = log.wait_for("the end of the time", is_over).await;
    assert_eq!(event.field("filter"), "info", "{event}");
    assert_eq!(current_filter(&service).await, (json!("info"), false));
    let log = service.log().from_now();
    get(&service, "/say").await;
    get(&service, "/slow?ms=0").await;
    log.event("slow begun").await;
    assert!(log.events().iter().all(|event| event.message != "said"));

    // SIGHUP ends it too.
    put(&service, &json!({ "filter": "debug", "for": "1h" })).await;
    service.signal(Signal::HUP);
    service.event("reloaded").await;
    eventually("the filter to expire", async || {
        let state = current_filter(&service).await;
        (state == (json!("info"), false)).then_some(())
    })
    .await;
    clean(&service.stop().await);
}

fn is_refiltered_by(event: &harness::log::Event, by: &str) -> bool {
    event.message == "refiltered" && event.field("by") == by
}
