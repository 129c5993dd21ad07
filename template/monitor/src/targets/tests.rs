//! Targets as clients see them, in a database of their own.

mod pages;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use futures_util::future::join_all;
use mainstay::settings::ByteSize;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::settings::Keys;
use crate::watched::Watched;

struct Fixture {
    routes: Router,
    _watched: Watched,
}

/// A response.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Fixture {
    async fn new() -> Self {
        Self::with_room_for(1000).await
    }

    async fn with_room_for(max_targets: u32) -> Self {
        let watched = Watched::new().await;
        let database = watched.database.clone();
        let keys = idempotency::Settings {
            retention: Duration::from_hours(1),
            max_answers: 1000,
            answer_limit: ByteSize(10_000),
        };
        let keys = Keys::new(&keys, database.clone());
        let settings = Monitor {
            max_targets,
            min_interval: Duration::from_secs(10),
            max_interval: Duration::from_hours(1),
            default_interval: Duration::from_mins(1),
            default_timeout: Duration::from_secs(20),
        };
        let targets = Targets::new(database, keys, &settings);
        let (routes, _) = OpenApiRouter::new()
            .nest("/v1", routes(targets))
            .split_for_parts();
        Self {
            routes,
            _watched: watched,
        }
    }

    /// Sends a header, unless it is empty.
    async fn ask(&self, what: &str, header: (&str, &str), body: Value) -> Answer {
        let (method, path) = what.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !header.1.is_empty() {
            request = request.header(header.0, header.1);
        }
        if !body.is_null() {
            request = request.header("content-type", "application/json");
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let request = request.body(body).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1_000_000).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), ("", ""), Value::Null)
            .await
    }

    async fn add(&self, wanted: Value) -> Answer {
        self.ask("POST /v1/targets", ("", ""), wanted).await
    }

    async fn put(&self, id: i64, expected: &str, wanted: Value) -> Answer {
        let what = format!("PUT /v1/targets/{id}");
        self.ask(&what, ("if-match", expected), wanted).await
    }

    async fn delete(&self, id: i64, expected: &str) -> Answer {
        let what = format!("DELETE /v1/targets/{id}");
        self.ask(&what, ("if-match", expected), Value::Null).await
    }

    /// Adds targets, and returns their ids.
    async fn fill(&self, count: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        for number in 0..count {
            let added = self.add(json!({"url": format!("http://{number}.example")}));
            ids.push(added.await.id());
        }
        ids
    }
}

impl Answer {
    fn id(&self) -> i64 {
        self.body["id"]
            .as_i64()
            .unwrap_or_else(|| panic!("{self:?}"))
    }

    fn ids(&self) -> Vec<i64> {
        let targets = self.body["targets"].as_array().unwrap();
        let id = |target: &Value| target["id"].as_i64().unwrap();
        targets.iter().map(id).collect()
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The status, the code of the problem, and its first place.
    fn problem(&self) -> (u16, &str, &str) {
        let place = &self.body["errors"][0];
        let place = ["pointer", "parameter", "header"].map(|kind| place[kind].as_str());
        let place = place.into_iter().flatten().next();
        let code = self.body["code"].as_str().unwrap_or_default();
        (self.status, code, place.unwrap_or_default())
    }
}

#[tokio::test]
async fn omitted_fields_get_their_defaults() {
    let fixture = Fixture::new().await;

    let added = fixture.add(json!({"url": "http://a.example"})).await;

    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(added.header("location"), "/v1/targets/1");
    assert_eq!(added.header("etag"), "\"1\"");
    let now = added.body["created_at"].as_str().unwrap();
    assert!(
        humantime::parse_rfc3339(now).unwrap().elapsed().unwrap() < Duration::from_mins(1),
        "{now}"
    );
    assert_eq!(
        added.body,
        json!({
            "id": 1, "url": "http://a.example/", "name": null, "interval_seconds": 60,
            "timeout_seconds": 20, "enabled": true, "created_at": now, "updated_at": now, "version": 1,
        })
    );
    assert_eq!(fixture.get("/v1/targets/1").await.body, added.body);
    assert_eq!(
        fixture.get("/v1/targets").await.body,
        json!({ "targets": [added.body] })
    );
    // A check must end before the next one, whatever the defaults are.
    let often = json!({"url": "http://b.example", "interval_seconds": 10});
    assert_eq!(fixture.add(often).await.body["timeout_seconds"], 10);
}

#[tokio::test]
async fn if_none_match_of_the_current_version_gets_304() {
    let fixture = Fixture::new().await;
    let id = fixture.fill(1).await[0];
    let what = format!("GET /v1/targets/{id}");
    let asked = async |tag| {
        fixture
            .ask(&what, ("if-none-match", tag), Value::Null)
            .await
    };

    let known = asked("\"1\"").await;
    assert_eq!((known.status, known.header("etag")), (304, "\"1\""));
    assert_eq!(asked("\"2\"").await.status, 200);
    fixture
        .put(id, "*", json!({"url": "http://new.example"}))
        .await;
    let changed = asked("\"1\"").await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));
}

#[tokio::test]
async fn update_replaces_the_version_that_was_seen() {
    let fixture = Fixture::new().await;
    let before = fixture
        .add(json!({"url": "http://a.example", "name": "A", "enabled": false}))
        .await;
    let (id, tag) = (before.id(), before.header("etag"));
    let wanted = || json!({"url": "http://b.example", "interval_seconds": 30});

    let blind = fixture.put(id, "", wanted()).await;
    assert_eq!(blind.problem(), (428, "precondition_required", "if-match"));
    let nonsense = fixture.put(id, "1", wanted()).await;
    assert_eq!(nonsense.problem(), (412, "precondition_failed", "if-match"));
    assert_eq!(fixture.get("/v1/targets/1").await.body, before.body);

    let after = fixture.put(id, tag, wanted()).await;
    assert_eq!((after.status, after.header("etag")), (200, "\"2\""));
    assert_eq!(fixture.get("/v1/targets/1").await.body, after.body);
    let mut expected = before.body.clone();
    for (field, value) in [
        ("url", json!("http://b.example/")),
        ("name", Value::Null),
        ("interval_seconds", json!(30)),
        ("enabled", json!(true)),
        ("version", json!(2)),
        ("updated_at", after.body["updated_at"].clone()),
    ] {
        expected[field] = value;
    }
    assert_eq!(after.body, expected);
    let [created, updated] = ["created_at", "updated_at"].map(|key| after.body[key].as_str());
    assert!(updated >= created);

    let stale = fixture.put(id, tag, wanted()).await;
    assert_eq!(stale.problem(), (412, "precondition_failed", "if-match"));
    assert_eq!(fixture.put(id, "*", wanted()).await.header("etag"), "\"3\"");
    let absent = fixture.put(99, "*", wanted()).await;
    assert_eq!(absent.problem(), (404, "not_found", ""));
}

#[tokio::test]
async fn one_of_many_updates_of_a_version_succeeds() {
    let fixture = Fixture::new().await;
    let id = fixture.fill(1).await[0];
    let change = |number: usize, expected| {
        let wanted = json!({"url": format!("http://{number}.example"), "name": number.to_string()});
        fixture.put(id, expected, wanted)
    };

    let answers = join_all((0..20).map(|number| change(number, "\"1\""))).await;

    let won: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let lost = answers.iter().filter(|answer| answer.status == 412);
    assert_eq!(lost.count(), 19);
    assert_eq!(fixture.get("/v1/targets/1").await.body, won[0].body);

    let answers = join_all((0..20).map(|number| change(number, "*"))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    assert_eq!(fixture.get("/v1/targets/1").await.body["version"], 22);
}

#[tokio::test]
async fn delete_checks_the_version_if_given() {
    let fixture = Fixture::new().await;
    let ids = fixture.fill(2).await;
    let stale = fixture.delete(ids[0], "\"7\"").await;
    assert_eq!(stale.problem(), (412, "precondition_failed", "if-match"));
    assert_eq!(fixture.delete(ids[0], "\"1\"").await.status, 204);
    assert_eq!(fixture.delete(ids[1], "").await.status, 204);
    for id in ids {
        let path = format!("/v1/targets/{id}");
        assert_eq!(fixture.get(&path).await.problem(), (404, "not_found", ""));
        assert_eq!(fixture.delete(id, "*").await.status, 404);
    }
}

#[tokio::test]
async fn url_is_watched_once_in_any_notation() {
    let fixture = Fixture::new().await;
    let first = fixture.add(json!({"url": "http://a.example"})).await.id();
    let other = fixture.add(json!({"url": "http://b.example/"})).await.id();
    for url in [
        "http://a.example",
        "http://A.EXAMPLE:80/",
        "http://a.example/x/..#part",
    ] {
        for refused in [
            fixture.add(json!({ "url": url })).await,
            fixture.put(other, "*", json!({ "url": url })).await,
        ] {
            assert_eq!(refused.problem(), (409, "already_watched", "/url"), "{url}");
            let words = refused.body["errors"][0]["detail"].as_str();
            let named = format!("is already watched by /v1/targets/{first}");
            assert_eq!(words, Some(&*named));
        }
    }
    let same = json!({"url": "http://b.example/", "name": "B"});
    assert_eq!(fixture.put(other, "*", same).await.status, 200);
    assert_eq!(fixture.delete(first, "").await.status, 204);
    let freed = fixture
        .put(other, "*", json!({"url": "http://a.example"}))
        .await;
    assert_eq!(freed.status, 200);
}

#[tokio::test]
async fn invalid_target_is_refused_with_its_places() {
    let fixture = Fixture::new().await;
    let long = format!("http://a.example/{}", "a".repeat(2048));
    let quoted = format!("http://a.example/?{}", "'".repeat(1000));
    for url in [
        "",
        "a.example",
        "ftp://a.example",
        "http://",
        "http:///a.example",
        "http://user@a.example",
        "http://:password@a.example",
        "http://a b",
        "http://a.example:99999",
        "http://a\\b",
        "https://ä.example",
        &long,
        &quoted,
    ] {
        let refused = fixture.add(json!({ "url": url })).await;
        assert_eq!(refused.problem(), (422, "invalid", "/url"), "{url}");
    }
    for (field, values) in [
        (
            "name",
            &[
                json!(""),
                json!("a\nb"),
                json!("x".repeat(101)),
                json!("\u{0}"),
            ] as &[_],
        ),
        (
            "interval_seconds",
            &[
                json!(9),
                json!(3601),
                json!(0),
                json!(-1),
                json!("60"),
                json!(10.5),
            ],
        ),
        (
            "timeout_seconds",
            &[json!(0), json!(61), json!(-1), json!(i64::MAX)],
        ),
        ("enabled", &[json!(1), json!("yes")]),
        ("more", &[json!(1)]),
    ] {
        for value in values {
            let mut wanted = json!({"url": "http://a.example"});
            wanted[field] = value.clone();
            let refused = fixture.add(wanted).await;
            let place = format!("/{field}");
            assert_eq!(refused.problem(), (422, "invalid", &*place), "{value}");
        }
    }
    assert_eq!(fixture.get("/v1/targets").await.ids(), [0_i64; 0]);
    let longest = json!({
        "url": format!("http://a.example/{}", "a".repeat(2031)), "name": "ä".repeat(100),
        "interval_seconds": 3600, "timeout_seconds": 3600, "enabled": false,
    });
    assert_eq!(fixture.add(longest).await.status, 201);
}

#[tokio::test]
async fn targets_are_limited() {
    let fixture = Fixture::with_room_for(2).await;
    let ids = fixture.fill(2).await;
    let wanted = || json!({"url": "http://more.example"});
    assert_eq!(
        fixture.add(wanted()).await.problem(),
        (409, "too_many_targets", "")
    );
    assert_eq!(fixture.delete(ids[0], "").await.status, 204);
    assert_eq!(fixture.add(wanted()).await.status, 201);
}
