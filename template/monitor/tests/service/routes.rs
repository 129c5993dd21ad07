//! Targets can be added, read, listed, changed and removed; invalid ones are refused with a reason.

mod batches;
mod changes;

use mainstay::testing::{Answer, ask, ask_with, get};
use serde_json::json;

use crate::service;

#[test]
fn target_exists_until_it_is_removed() {
    let service = service().start();

    let created = ask(
        service.http(),
        "POST",
        "/v1/targets",
        r#"{"url":"https://example.org/"}"#,
    );

    assert_eq!(created.status, 201, "{}", created.body);
    let target = created.json();
    assert_eq!(target["url"], "https://example.org/");
    let path = format!("/v1/targets/{}", target["id"]);
    assert_eq!(created.header("location"), Some(&*path));
    assert_eq!(get(service.http(), &path).json(), target);
    let page = json!({"targets": [target]});
    assert_eq!(get(service.http(), "/v1/targets").json(), page);

    assert_eq!(ask(service.http(), "DELETE", &path, "").status, 204);

    assert_eq!(get(service.http(), &path).status, 404);
    assert_eq!(ask(service.http(), "DELETE", &path, "").status, 404);
}

#[test]
fn target_is_changed_with_its_current_version_only() {
    let service = service().start();
    let body = r#"{"url":"https://example.org/"}"#;
    let created = ask(service.http(), "POST", "/v1/targets", body);
    let path = format!("/v1/targets/{}", created.json()["id"]);
    let tag = |answer: &Answer| answer.header("etag").unwrap().to_owned();
    let change = |headers: &[(&str, &str)], name: &str| {
        let body = format!(r#"{{"url":"https://example.org/","name":"{name}"}}"#);
        ask_with(service.http(), "PUT", &path, headers, &body)
    };
    let tag_at_first = tag(&created);
    let expected = [("if-match", &*tag_at_first)];

    let changed = change(&expected, "first");

    assert_eq!(
        (changed.status, &changed.json()["name"]),
        (200, &"first".into())
    );
    assert_ne!(tag(&changed), tag_at_first);
    assert_eq!(change(&expected, "second").status, 412);
    assert_eq!(change(&[], "second").status, 428);
    let tag = tag(&changed);
    let known = [("if-none-match", &*tag)];
    let read = ask_with(service.http(), "GET", &path, &known, "");
    assert_eq!((read.status, read.body.as_str()), (304, ""));
    assert_eq!(get(service.http(), &path).json(), changed.json());
}

#[test]
fn list_is_followed_by_its_links() {
    let service = service().start();
    for number in 0..5 {
        let body = format!(r#"{{"url":"https://{number}.example.org/"}}"#);
        assert_eq!(
            ask(service.http(), "POST", "/v1/targets", &body).status,
            201
        );
    }
    let mut path = "/v1/targets?limit=2".to_owned();
    let mut urls = Vec::new();
    loop {
        let page = get(service.http(), &path);
        let targets = page.json()["targets"].clone();
        urls.extend(
            targets
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["url"].to_string()),
        );
        match page.header("link").unwrap_or_default().strip_prefix('<') {
            Some(link) => path = link.strip_suffix(">; rel=\"next\"").unwrap().to_owned(),
            None => break,
        }
    }
    let all = (0..5).map(|number| format!("\"https://{number}.example.org/\""));
    assert!(all.eq(urls.iter().cloned()), "{urls:?}");
}

#[test]
fn added_target_is_counted() {
    let service = service().start();
    let body = r#"{"url":"https://example.org/"}"#;
    assert_eq!(ask(service.http(), "POST", "/v1/targets", body).status, 201);
    assert_eq!(ask(service.http(), "POST", "/v1/targets", body).status, 409);

    let metrics = service.metrics();

    assert_eq!(metrics.count("targets_added_total"), 1);
    let taken = r#"{method="POST",route="/v1/targets",status="4xx"}"#;
    let duration = "http_server_request_duration_seconds_count";
    assert_eq!(metrics.count(&format!("{duration}{taken}")), 1);
}

#[test]
fn invalid_target_is_refused_with_a_reason() {
    let service = service().start();
    let add = |url: &str| {
        ask(
            service.http(),
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

#[test]
fn disabled_target_is_not_checked() {
    let service = service().start();
    let add = |body: &str| {
        let target = ask(service.http(), "POST", "/v1/targets", body).json();
        format!("/v1/targets/{}/checks", target["id"])
    };
    let off = add(r#"{"url":"https://off.example.org/","enabled":false}"#);
    let refused = ask(service.http(), "POST", &off, "");
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &"switched_off".into())
    );
    let on = add(r#"{"url":"https://on.example.org/"}"#);
    assert_eq!(ask(service.http(), "POST", &on, "").status, 202);
}

#[test]
fn export_is_counted_when_it_has_ended() {
    let service = service().start();
    let export = |target: &str| {
        let path = format!("/v1/targets/{target}/checks.ndjson");
        get(service.http(), &path).status
    };
    let body = r#"{"url":"https://example.org/"}"#;
    let target = ask(service.http(), "POST", "/v1/targets", body).json();

    assert_eq!(export("99"), 404);
    assert_eq!(export(&target["id"].to_string()), 200);

    let metrics = service.metrics();
    let exports = metrics.series.iter();
    let exports = exports.filter(|(series, _)| series.starts_with("monitor_exports_total"));
    let exports: Vec<_> = exports
        .map(|(series, count)| format!("{series} {count}"))
        .collect();
    assert_eq!(exports, [r#"monitor_exports_total{outcome="complete"} 1"#]);
}
