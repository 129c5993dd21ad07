//! Guests are greeted, and counted.

use crate::exposition::Exposition;
use crate::running::{Running, ask, get};

#[test]
fn a_guest_is_greeted_as_set_and_counted_by_name() {
    let service = Running::start(&["hello.greeting=Ahoy"]);
    let visit = |name: &str| ask(service.http, "POST", &format!("/v1/hello/{name}"), "").json();

    let first = visit("Ada");
    assert_eq!(first["message"], "Ahoy, Ada");
    assert_eq!(
        (&first["times"], &visit("Ada")["times"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn a_guest_that_is_greeted_is_counted() {
    let service = Running::start(&[]);
    assert_eq!(ask(service.http, "POST", "/v1/hello/Ada", "").status, 200);

    let metrics = Exposition::read(&get(service.operator, "/metrics").body);

    assert_eq!(metrics.count("greetings_total"), 1);
    let greeted = r#"{method="POST",route="/v1/hello/{name}",status="2xx"}"#;
    let duration = "http_server_request_duration_seconds_count";
    assert_eq!(metrics.count(&format!("{duration}{greeted}")), 1);
}

#[test]
fn a_guest_who_stays_away_is_forgotten() {
    let service = Running::start(&["hello.forget_after=0s"]);
    // What the task does at the start is over before anybody comes.
    assert_eq!(service.event("forgotten")["guests"], 0);
    let visit = || ask(service.http, "POST", "/v1/hello/Ada", "").json();
    assert_eq!(visit()["times"], 1);
    assert_eq!(visit()["times"], 2);

    // The task has its next turn now, and not in an hour.
    let restart = "/api/tasks/forgetting/restart";
    assert_eq!(ask(service.operator, "POST", restart, "").status, 202);
    assert_eq!(service.event("forgotten")["guests"], 1);

    assert_eq!(visit()["times"], 1);
}
