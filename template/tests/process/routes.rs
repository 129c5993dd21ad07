//! Targets can be added, read, listed and removed, and what cannot be is refused with a reason.

use serde_json::json;

use crate::exposition::Exposition;
use crate::running::{Running, ask, get};

#[test]
fn a_target_is_kept_until_it_is_removed() {
    let service = Running::start(&[]);

    let created = ask(
        service.http,
        "POST",
        "/v1/targets",
        r#"{"url":"https://example.org/"}"#,
    );

    assert_eq!(created.status, 201, "{}", created.body);
    let target = created.json();
    assert_eq!(target["url"], "https://example.org/");
    let path = format!("/v1/targets/{}", target["id"]);
    assert!(
        created.head.contains(&format!("location: {path}")),
        "{}",
        created.head
    );
    assert_eq!(get(service.http, &path).json(), target);
    assert_eq!(get(service.http, "/v1/targets").json(), json!([target]));

    assert_eq!(ask(service.http, "DELETE", &path, "").status, 204);

    assert_eq!(get(service.http, &path).status, 404);
    assert_eq!(ask(service.http, "DELETE", &path, "").status, 404);
}

#[test]
fn a_target_that_is_added_is_counted() {
    let service = Running::start(&[]);
    let body = r#"{"url":"https://example.org/"}"#;
    assert_eq!(ask(service.http, "POST", "/v1/targets", body).status, 201);
    assert_eq!(ask(service.http, "POST", "/v1/targets", body).status, 409);

    let metrics = Exposition::read(&get(service.operator, "/metrics").body);

    assert_eq!(metrics.count("targets_added_total"), 1);
    let taken = r#"{method="POST",route="/v1/targets",status="4xx"}"#;
    let duration = "http_server_request_duration_seconds_count";
    assert_eq!(metrics.count(&format!("{duration}{taken}")), 1);
}

#[test]
fn a_target_that_cannot_be_is_refused_with_a_reason() {
    let service = Running::start(&[]);
    let add = |url: &str| {
        ask(
            service.http,
            "POST",
            "/v1/targets",
            &format!(r#"{{"url":"{url}"}}"#),
        )
    };

    let refused = add("ftp://example.org");
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (422, &"invalid".into())
    );
    assert_eq!(refused.json()["errors"][0]["pointer"], "/url");
    assert_eq!(add("https://example.org/").status, 201);
    let again = add("https://example.org/");
    assert_eq!(
        (again.status, &again.json()["code"]),
        (409, &"already_watched".into())
    );
}
