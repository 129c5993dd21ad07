//! Guests are greeted, counted, and deleted.

use mainstay::testing::{Running, ask};
use serde_json::{Value, json};

use crate::service;

fn greet(service: &Running, name: &str) -> Value {
    let answer = ask(service.http(), "POST", &format!("/v1/hello/{name}"), "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[test]
fn greets_as_set_and_counts_each_guest() {
    let service = service().set("hello.greeting", "Ahoy").start();

    assert_eq!(
        greet(&service, "Ada"),
        json!({"message": "Ahoy, Ada", "times": 1})
    );
    assert_eq!(greet(&service, "Ada")["times"], 2);
    assert_eq!(greet(&service, "Bob")["times"], 1);

    let metrics = service.metrics();
    assert_eq!(metrics.count("greetings_total"), 3);
    let greeted = r#"{method="POST",route="/v1/hello/{name}",status="2xx"}"#;
    let requests = format!("http_server_request_duration_seconds_count{greeted}");
    assert_eq!(metrics.count(&requests), 3);
}

#[test]
fn retention_deletes_guests_who_stay_away() {
    let service = service().set("hello.forget_after", "0s").start();
    // The task runs at the start, before the first guest comes.
    assert_eq!(service.event("guests deleted")["guests"], 0);
    assert_eq!(greet(&service, "Ada")["times"], 1);
    assert_eq!(greet(&service, "Ada")["times"], 2);

    // Run the task again now, not in an hour.
    let restart = ask(
        service.operator(),
        "POST",
        "/api/tasks/retention/restart",
        "",
    );
    assert_eq!(restart.status, 202, "{}", restart.body);
    assert_eq!(service.event("guests deleted")["guests"], 1);

    assert_eq!(greet(&service, "Ada")["times"], 1);
}
