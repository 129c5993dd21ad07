//! Changes to a running process: settings by SIGHUP, and a temporary log filter by the operator.

use harness::eventually;
use harness::http::{Answer, Request, send};
use harness::log::Event;
use harness::service::{Service, Signal};
use serde_json::{Value, json};

use crate::{clean, count, faulty, get};

/// Starts the service with a file of settings.
async fn configured(settings: &str) -> Service {
    let launch = faulty().file("own.toml", settings);
    launch.arg("--config").arg("own.toml").ready().await
}

/// Changes the file, and sends SIGHUP.
fn reconfigure(service: &Service, settings: &str) {
    std::fs::write(service.directory().join("own.toml"), settings).unwrap();
    service.signal(Signal::HUP);
}

#[tokio::test]
async fn sighup_reloads_the_log_filter() {
    let service = configured("log.filter = \"info\"").await;
    get(&service, "/say").await;

    reconfigure(&service, "log.filter = \"debug\"");
    eventually("the event at DEBUG", async || {
        get(&service, "/say").await;
        let said = service.log().events();
        said.into_iter().find(|event| event.message == "said")
    })
    .await;

    // An invalid filter is logged, and changes nothing.
    let log = service.log().from_now();
    reconfigure(&service, "log.filter = \"inof\"");
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
    let service = configured("log.filter = \"info\"\noperator.token = \"canary-1\"").await;

    reconfigure(
        &service,
        "log.filter = \"debug\"\noperator.token = \"canary-1\"",
    );
    service.event("reloaded").await;

    let log = service.log().from_now();
    reconfigure(
        &service,
        "http.max_wait = \"77ms\"\noperator.token = \"canary-2\"",
    );
    let event = log.event(NEEDS_RESTART).await;
    assert_eq!(event.level, "WARN", "{event}");
    assert_eq!(event.field("settings"), "http.max_wait, operator.token");
    log.event("reloaded").await;
    let exit = service.stop().await;
    clean(&exit);
    // The filter needs no restart.
    assert_eq!(count(&exit, NEEDS_RESTART), 1, "{exit}");
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
    let service = faulty().set("log.filter", "info").ready().await;
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
        assert!(answer.text().contains(expected), "{wish}: {answer}");
        let unchanged = (json!("info"), false);
        assert_eq!(current_filter(&service).await, unchanged, "{wish}");
    }

    let answer = put(&service, &json!({ "filter": "debug", "for": "1h" })).await;
    assert_eq!(answer.status, 200, "{answer}");
    let left = answer.json()["reverts_in"].as_u64().unwrap();
    assert!((3590..=3600).contains(&left), "{answer}");
    let event = service.event("refiltered").await;
    assert_eq!(event.field("by"), "the operator", "{event}");
    assert_eq!(event.field("filter"), "debug", "{event}");
    assert_eq!(event.field("for"), "1h", "{event}");
    get(&service, "/say").await;
    let said = service.event("said").await;
    assert!(said.field("request_id").is_string(), "{said}");
    assert_eq!(current_filter(&service).await, (json!("debug"), true));

    // The duration has a default.
    let answer = put(&service, &json!({ "filter": "error" })).await;
    let left = answer.json()["reverts_in"].as_u64().unwrap();
    assert!((890..=900).contains(&left), "{answer}");
    assert_eq!(current_filter(&service).await, (json!("error"), true));

    // SIGHUP ends it, and so does its time.
    for until_hangup in [true, false] {
        let time = if until_hangup { "1h" } else { "1s" };
        put(&service, &json!({ "filter": "debug", "for": time })).await;
        if until_hangup {
            service.signal(Signal::HUP);
        }
        eventually("the filter to expire", async || {
            let state = current_filter(&service).await;
            (state == (json!("info"), false)).then_some(())
        })
        .await;
    }
    let is_expiry =
        |event: &Event| event.message == "refiltered" && event.field("by") == "the end of its time";
    service.wait_for("the end of its time", is_expiry).await;
    clean(&service.stop().await);
}
