//! Requests that are sent again, through routes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{post, put};
use axum::{Extension, Router};
use tokio::sync::Notify;
use tokio::time::timeout;
use tower::ServiceExt;

use super::E;
use crate::database::Database;
use crate::idempotency::*;
use crate::settings::ByteSize;
use crate::testing::{Scratch, database_settings};

mod concurrency;
mod limits;

/// Longer than any test takes: only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service whose requests each make a thing, by the name in the body.
struct Fixture {
    service: Arc<Service>,
    scratch: Scratch<E>,
}

struct Service {
    keys: Keys<E>,
    /// The outcome of the next request: 201 by default.
    outcome: Mutex<Option<Result<u16, Problem>>>,
    begun: Notify,
    /// Whether the work waits in the middle, for `go_on`.
    holds: bool,
    go_on: Notify,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let scratch = Scratch::new();
        let service = service(scratch.url(), change, false);
        let database = service.keys.database();
        database.connect().await.unwrap();
        database.migrate().await.unwrap();
        let table = "CREATE TABLE things (name TEXT NOT NULL UNIQUE)";
        sqlx::query(table).execute(database.write()).await.unwrap();
        let service = Arc::new(service);
        Self { service, scratch }
    }

    /// Another process on the same database, which waits in the middle of its work.
    fn holding(&self) -> Self {
        let service = Arc::new(service(self.scratch.url(), |_| {}, true));
        let scratch = Scratch::new();
        Self { service, scratch }
    }

    /// Sets the outcome of the next request.
    fn set_outcome(&self, what: Result<u16, Problem>) {
        *self.service.outcome.lock().unwrap() = Some(what);
    }

    async fn send(&self, key: &str, name: &str) -> Sent {
        send(&self.service, "POST /things", key, name).await
    }

    async fn things(&self) -> i64 {
        self.number("SELECT count(*) FROM things").await
    }

    async fn kept(&self) -> i64 {
        self.number("SELECT count(*) FROM idempotency").await
    }

    async fn number(&self, of: &'static str) -> i64 {
        let database = self.service.keys.database();
        let query = sqlx::query_scalar(of);
        query.fetch_one(database.read()).await.unwrap()
    }
}

fn service(url: &str, change: impl FnOnce(&mut Settings), holds: bool) -> Service {
    let mut settings = Settings {
        retention: Duration::from_hours(1),
        max_answers: 1000,
        answer_limit: ByteSize(1000),
    };
    change(&mut settings);
    let mut database = database_settings(url);
    database.acquire_timeout = PATIENCE;
    let database = Database::new(&database, &[migrations::<E>()]).unwrap();
    Service {
        keys: Keys::new(&settings, database),
        outcome: Mutex::new(None),
        begun: Notify::new(),
        holds,
        go_on: Notify::new(),
    }
}

/// Makes a thing, and answers with the outcome that the test has set.
async fn make(State(service): State<Arc<Service>>, once: Once<Bytes>) -> Result<Response, Problem> {
    let work = async |transaction: &mut Transaction<E>, name: Bytes| {
        let name = str::from_utf8(&name).unwrap();
        let made = sqlx::query("INSERT INTO things (name) VALUES ($1)").bind(name);
        made.execute(&mut **transaction).await?;
        service.begun.notify_one();
        if service.holds {
            service.go_on.notified().await;
        }
        let outcome = service.outcome.lock().unwrap().take();
        let status = StatusCode::from_u16(outcome.unwrap_or(Ok(201))?).unwrap();
        Ok((
            status,
            [(header::LOCATION, format!("/things/{name}"))],
            name.to_owned(),
        ))
    };
    once.run(&service.keys, work).await
}

async fn demand(
    State(service): State<Arc<Service>>,
    once: OnceRequired<Bytes>,
) -> Result<Response, Problem> {
    let work = async |_: &mut Transaction<E>, _| Ok(StatusCode::NO_CONTENT);
    once.run(&service.keys, work).await
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    status: u16,
    code: String,
    location: String,
    replayed: bool,
    body: Bytes,
}

/// Sends a request such as `POST /things`, or `ada@POST /things` with a caller. An empty key is not sent.
async fn send(service: &Arc<Service>, what: &str, key: &str, body: &str) -> Sent {
    let (caller, what) = what.split_once('@').unwrap_or(("", what));
    let (method, path) = what.split_once(' ').unwrap();
    let caller = Extension(Caller(caller.into()));
    let routes = Router::new()
        .route("/things", post(make).put(make))
        .route("/things/{kind}", post(make))
        .route("/demanded", put(demand))
        .layer(caller)
        .with_state(Arc::clone(service));
    let mut request = Request::builder().method(method).uri(path);
    if !key.is_empty() {
        request = request.header("idempotency-key", key);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = timeout(PATIENCE, routes.oneshot(request))
        .await
        .unwrap()
        .unwrap();
    let [location, retry] = [header::LOCATION, header::RETRY_AFTER].map(|name| {
        let value = response.headers().get(name);
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    });
    let (status, replayed) = (response.status().as_u16(), is_replayed(&response));
    let body = axum::body::to_bytes(response.into_body(), 100_000)
        .await
        .unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let code = problem["code"].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        code == "idempotency_key_in_use",
        retry == "1" && status == 409,
        "{retry}"
    );
    Sent {
        status,
        code,
        location,
        replayed,
        body,
    }
}

fn replay_of(first: &Sent) -> Sent {
    Sent {
        replayed: true,
        ..first.clone()
    }
}

#[tokio::test]
async fn repeated_request_is_done_once_and_gets_the_same_answer() {
    let fixture = Fixture::new().await;
    let first = fixture.send("one", "a").await;
    assert_eq!((first.status, first.location.as_str()), (201, "/things/a"));
    assert!(!first.replayed);

    for key in ["one", "\"one\""] {
        assert_eq!(fixture.send(key, "a").await, replay_of(&first));
    }
    assert_eq!((fixture.things().await, fixture.kept().await), (1, 1));
    assert_eq!(fixture.send("two", "b").await.status, 201);
    assert_eq!((fixture.things().await, fixture.kept().await), (2, 2));
}

#[tokio::test]
async fn key_belongs_to_one_request_on_its_route() {
    let fixture = Fixture::new().await;
    let send = |what, body| send(&fixture.service, what, "one", body);
    assert_eq!(send("POST /things/red", "a").await.status, 201);
    for (what, body) in [
        ("POST /things/red", "b"),
        ("POST /things/red", ""),
        ("POST /things/blue", "a"),
        ("POST /things/red?size=1", "a"),
    ] {
        let refused = send(what, body).await;
        let found = (refused.status, refused.code.as_str());
        assert_eq!(found, (422, "idempotency_key_reused"), "{what} {body}");
    }
    assert!(send("POST /things/red", "a").await.replayed);
    // Other routes, and other methods, have keys of their own.
    for (what, body) in [("POST /things", "c"), ("PUT /things", "d")] {
        let other = send(what, body).await;
        assert_eq!((other.status, other.replayed), (201, false), "{what}");
    }
    assert_eq!(fixture.things().await, 3);
}

#[tokio::test]
async fn key_belongs_to_its_caller() {
    let fixture = Fixture::new().await;
    let send = |what, body| send(&fixture.service, what, "one", body);
    assert_eq!(send("ada@POST /things", "a").await.status, 201);
    let other = send("bob@POST /things", "b").await;
    assert_eq!((other.status, other.replayed), (201, false));
    assert!(send("ada@POST /things", "a").await.replayed);
    assert_eq!(send("bob@POST /things", "a").await.status, 422);
}

#[tokio::test]
async fn refused_request_has_no_effect_and_is_replayed() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.send("", "a").await.status, 201);
    let refused = Problem::new(StatusCode::CONFLICT, "too_many", "There is no room");
    for (key, name, outcome, status) in [
        // By the database, by the work, and by what it answers.
        ("one", "a", None, 409),
        ("two", "b", Some(Err(refused)), 409),
        ("three", "c", Some(Ok(404)), 404),
    ] {
        if let Some(outcome) = outcome {
            fixture.set_outcome(outcome);
        }
        let first = fixture.send(key, name).await;
        assert_eq!((first.status, first.replayed), (status, false), "{key}");
        assert_eq!(fixture.send(key, name).await, replay_of(&first), "{key}");
    }
    assert_eq!((fixture.things().await, fixture.kept().await), (1, 3));
}

#[tokio::test]
async fn failed_request_leaves_nothing_and_can_be_repeated() {
    let fixture = Fixture::new().await;
    for (key, outcome, status) in [
        ("one", Ok(500), 500),
        ("one", Err(Problem::UNAVAILABLE), 503),
        ("one", Ok(429), 429),
        ("", Ok(500), 500),
        ("", Ok(404), 404),
    ] {
        fixture.set_outcome(outcome);
        let failed = fixture.send(key, "a").await;
        assert_eq!((failed.status, failed.replayed), (status, false));
        assert_eq!((fixture.things().await, fixture.kept().await), (0, 0));
    }
    let first = fixture.send("one", "a").await;
    assert_eq!((first.status, first.replayed), (201, false));
}

#[tokio::test]
async fn keyless_requests_are_distinct_unless_the_key_is_demanded() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.send("", "a").await.status, 201);
    assert_eq!(fixture.send("", "a").await.status, 409);
    assert_eq!((fixture.things().await, fixture.kept().await), (1, 0));

    let demand = |key| send(&fixture.service, "PUT /demanded", key, "");
    let missing = demand("").await;
    let found = (missing.status, missing.code.as_str());
    assert_eq!(found, (400, "idempotency_key_missing"));
    let malformed = demand("two words").await;
    let found = (malformed.status, malformed.code.as_str());
    assert_eq!(found, (400, "idempotency_key_malformed"));
    let body: serde_json::Value = serde_json::from_slice(&malformed.body).unwrap();
    assert_eq!(body["errors"][0]["header"], "idempotency-key");
    assert_eq!(demand("one").await.status, 204);
    assert_eq!(demand("one").await.status, 204);
}
