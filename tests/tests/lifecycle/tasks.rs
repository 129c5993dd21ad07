//! Tasks that fail, and the stop with them.

use harness::eventually;

use crate::{clean, faulty, get, in_handler};

#[tokio::test]
async fn failed_critical_task_stops_the_service() {
    let service = faulty().set("faults.task", "critical").ready().await;
    let request = in_handler(&service, "/slow?ms=1500").await;

    get(&service, "/fall").await;

    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    let exit = service.exit().await;
    assert_eq!(exit.code, Some(1), "{exit}");
    let draining = exit.event("draining").unwrap();
    assert!(draining.to_string().contains("faulty"), "{draining}");
    assert!(!draining.field("cause").is_null(), "{draining}");
    assert_eq!(exit.event("stopped").unwrap().field("outcome"), "failed");
}

#[tokio::test]
async fn failed_optional_task_is_visible_and_the_service_stays() {
    let service = faulty().set("faults.task", "dispensable").ready().await;

    get(&service, "/fall").await;

    let given_up = service.event("task given up").await;
    assert_eq!(given_up.field("task"), "faulty");
    let task = eventually("the state of the task", async || {
        let state = service.ask("/api/state").await.json();
        let tasks = state["tasks"].as_array()?.clone();
        tasks.into_iter().find(|task| task["state"] == "gave_up")
    })
    .await;
    assert_eq!(task["name"], "faulty", "{task}");
    assert_eq!(task["last_error"], "it has fallen", "{task}");
    let verbose = service.ask("/readyz?verbose").await;
    assert_eq!(verbose.status, 200, "{verbose}");
    assert!(verbose.text().contains("faulty"), "{verbose}");
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn tasks_run_until_the_last_request_is_answered() {
    let service = faulty().set("faults.task", "two_failing").ready().await;
    let request = in_handler(&service, "/slow?ms=1500").await;

    let exit = service.stop().await;

    assert_eq!(request.await.unwrap().unwrap().status, 200);
    let at = |message: &str| {
        let mut events = exit.events.iter();
        events.position(|event| event.message == message)
    };
    let is_last = at("request").unwrap() < at("sound task stopped").unwrap();
    assert!(is_last, "{exit}");
    // Tasks that fail during the stop are logged, and do not change its outcome.
    for name in ["one", "two"] {
        let is_logged = exit.events.iter().any(|event| {
            event.field("task") == name && event.to_string().contains("fails while it stops")
        });
        assert!(is_logged, "{name}: {exit}");
    }
    clean(&exit);
}
