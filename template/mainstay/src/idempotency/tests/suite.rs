//! Requests that are sent again, through routes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::AppendHeaders;
use axum::routing::{post, put};
use axum::{Extension, Router};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::E;
use crate::database::Database;
use crate::idempotency::*;
use crate::settings::ByteSize;
use crate::testing::{Answer, Scratch, TestEngine, database_settings};
use crate::tests::{PATIENCE, outcome, request, send};

/// A service whose requests each make a thing, by the name in the body.
struct Service {
    keys: Keys<E>,
    /// The outcome of the next request: 201 by default.
    outcome: Mutex<Option<Result<u16, Problem>>>,
    begun: Notify,
    /// The work waits for it in the middle.
    gate: tokio::sync::Mutex<()>,
    _scratch: Scratch,
}

impl Service {
    async fn new() -> Arc<Self> {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Arc<Self> {
        let scratch = E::scratch();
        let mut settings = Settings {
            retention: Duration::from_hours(1),
            max_answers: 1000,
            answer_limit: ByteSize(1000),
        };
        change(&mut settings);
        let mut database = database_settings(&scratch.url);
        database.acquire_timeout = PATIENCE;
        let database = Database::new(&database, &[migrations::<E>()]).unwrap();
        database.connect().await.unwrap();
        database.migrate().await.unwrap();
        let service = Arc::new(Self {
            keys: Keys::new(&settings, database),
            outcome: Mutex::default(),
            begun: Notify::new(),
            gate: tokio::sync::Mutex::default(),
            _scratch: scratch,
        });
        let table = "CREATE TABLE things (name TEXT NOT NULL UNIQUE)";
        service.execute(table).await;
        service
    }

    async fn execute(&self, statement: &'static str) {
        let query = sqlx::query(statement);
        query.execute(self.keys.database.write()).await.unwrap();
    }

    /// The numbers of things and of answers.
    async fn stored(&self) -> (i64, i64) {
        let counts = "SELECT (SELECT count(*) FROM things), (SELECT count(*) FROM idempotency)";
        let query = sqlx::query_as(counts);
        query.fetch_one(self.keys.database.read()).await.unwrap()
    }

    async fn send(self: &Arc<Self>, key: &str, name: &str) -> Answer {
        self.send_to("POST /things", key, name).await
    }

    /// Sends a request such as `POST /things`, or `ada@POST /things` with a caller. An empty key is not sent.
    async fn send_to(self: &Arc<Self>, what: &str, key: &str, body: &str) -> Answer {
        let (caller, what) = what.split_once('@').unwrap_or(("", what));
        let (method, path) = what.split_once(' ').unwrap();
        let routes = Router::new()
            .route("/things", post(make).put(make))
            .route("/things/{kind}", post(make))
            .route("/demanded", put(demand))
            .layer(Extension(Caller(caller.into())))
            .with_state(Arc::clone(self));
        let mut request = request(method, path);
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let answer = send(&routes, request, body.to_owned());
        timeout(PATIENCE, answer).await.unwrap()
    }
}

/// Makes a thing, and answers with the outcome that the test has set.
async fn make(State(service): State<Arc<Service>>, once: Once<Bytes>) -> Result<Response, Problem> {
    let work = async |transaction: &mut Transaction<E>, name: Bytes| {
        let name = str::from_utf8(&name).unwrap();
        let made = sqlx::query("INSERT INTO things (name) VALUES ($1)").bind(name);
        made.execute(&mut **transaction).await?;
        service.begun.notify_one();
        drop(service.gate.lock().await);
        let outcome = service.outcome.lock().unwrap().take();
        let status = StatusCode::from_u16(outcome.unwrap_or(Ok(201))?).unwrap();
        let headers = [
            (header::LOCATION, format!("/things/{name}").into_bytes()),
            (header::LINK, b"one".to_vec()),
            (header::LINK, b"two".to_vec()),
            (header::SET_COOKIE, b"secret".to_vec()),
            (HeaderName::from_static("x-opaque"), b"\xff: a:b".to_vec()),
        ];
        Ok((status, AppendHeaders(headers), name.to_owned()))
    };
    once.run(&service.keys, work).await
}

async fn demand(service: State<Arc<Service>>, once: Once<Bytes>) -> Result<Response, Problem> {
    make(service, once.require_key()?).await
}

/// The status, and whether the answer was given before.
fn replay(answer: &Answer) -> (u16, bool) {
    (answer.status, answer.headers.contains_key(REPLAYED))
}

/// This first answer, given again.
fn again(first: &Answer) -> Answer {
    let mut again = first.clone();
    again
        .headers
        .insert(REPLAYED, HeaderValue::from_static("true"));
    again.headers.remove(header::SET_COOKIE);
    again
}

#[tokio::test]
async fn repeated_request_is_done_once_and_gets_the_same_answer() {
    let service = Service::new().await;
    let first = service.send("one", "a").await;
    assert_eq!(replay(&first), (201, false));
    assert_eq!(first.header("location"), Some("/things/a"));
    assert_eq!(first.header("set-cookie"), Some("secret"));

    for key in ["one", "\"one\""] {
        assert_eq!(service.send(key, "a").await, again(&first));
    }
    assert_eq!(service.stored().await, (1, 1));
    assert_eq!(service.send("two", "b").await.status, 201);
    assert_eq!(service.stored().await, (2, 2));
}

#[tokio::test]
async fn key_belongs_to_one_request_of_its_route_and_caller() {
    let service = Service::new().await;
    for (what, body, status, is_replayed) in [
        ("ada@POST /things/red", "a", 201, false),
        ("ada@POST /things/red", "b", 422, false),
        ("ada@POST /things/red", "", 422, false),
        ("ada@POST /things/blue", "a", 422, false),
        ("ada@POST /things/red?size=1", "a", 422, false),
        ("ada@POST /things", "c", 201, false),
        ("ada@PUT /things", "d", 201, false),
        ("bob@POST /things/red", "e", 201, false),
        ("bob@POST /things/red", "a", 422, false),
        ("ada@POST /things/red", "a", 201, true),
    ] {
        let answer = service.send_to(what, "one", body).await;
        assert_eq!(replay(&answer), (status, is_replayed), "{what}");
        let is_reused = outcome(&answer) == "422 idempotency_key_reused";
        assert_eq!(is_reused, status == 422, "{what} {body}");
    }
    assert_eq!(service.stored().await, (4, 4));
}

#[tokio::test]
async fn failed_request_leaves_nothing_and_can_be_repeated() {
    let service = Service::new().await;
    assert_eq!(service.send("", "taken").await.status, 201);
    let refused = Problem::new(StatusCode::CONFLICT, "too_many", "There is no room");
    for (key, name, result, status) in [
        // By the database, by the work, and by what it answers.
        ("one", "taken", None, 409),
        ("one", "a", Some(Err(refused)), 409),
        ("one", "a", Some(Ok(404)), 404),
        ("one", "a", Some(Ok(500)), 500),
        ("one", "a", Some(Err(Problem::UNAVAILABLE)), 503),
        ("", "a", Some(Ok(404)), 404),
    ] {
        *service.outcome.lock().unwrap() = result;
        let failed = service.send(key, name).await;
        assert_eq!(replay(&failed), (status, false));
        assert_eq!(service.stored().await, (1, 0));
    }
    *service.outcome.lock().unwrap() = None;
    assert_eq!(replay(&service.send("one", "a").await), (201, false));
}

#[tokio::test]
async fn keyless_requests_are_distinct_unless_the_key_is_demanded() {
    let service = Service::new().await;
    assert_eq!(service.send("", "a").await.status, 201);
    assert_eq!(service.send("", "a").await.status, 409);
    assert_eq!(service.stored().await, (1, 0));

    for (key, expected) in [
        ("", "400 idempotency_key_missing"),
        ("two words", "400 idempotency_key_malformed"),
        ("one", "201"),
        ("one", "201"),
    ] {
        let answer = service.send_to("PUT /demanded", key, "").await;
        assert_eq!(outcome(&answer), expected, "{key}");
        let names_the_header = answer.body.contains(r#""header":"idempotency-key""#);
        assert_eq!(names_the_header, answer.status == 400);
    }
}

#[tokio::test]
async fn expired_answers_are_removed() {
    let service = Service::new().await;
    assert_eq!(service.send("new", "a").await.status, 201);
    let old = "INSERT INTO idempotency (route, caller, key, request, status, head, body, kept_at)
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)
         SELECT route, caller, 'old ' || n, request, status, head, body, kept_at - 3601
         FROM idempotency, numbers";
    service.execute(old).await;
    assert_eq!(service.stored().await, (1, 2501));
    service.keys.maintain().await.unwrap();
    assert_eq!(service.stored().await, (1, 1));
    assert_eq!(replay(&service.send("new", "a").await), (201, true));
}

#[tokio::test]
async fn answers_never_exceed_max_answers() {
    let service = Service::with(|settings| settings.max_answers = 2).await;
    assert_eq!(service.send("one", "a").await.status, 201);
    assert_eq!(service.send("two", "b").await.status, 201);
    let refused = service.send("three", "c").await;
    assert_eq!(outcome(&refused), "503 unavailable");
    assert_eq!(service.stored().await, (2, 2));
    // A retry needs no room, nor does a request without a key.
    assert_eq!(replay(&service.send("one", "a").await), (201, true));
    assert_eq!(service.send("", "d").await.status, 201);

    let delete = "DELETE FROM idempotency WHERE key = 'one'";
    service.execute(delete).await;
    service.keys.maintain().await.unwrap();
    assert_eq!(service.send("three", "c").await.status, 201);
}

#[tokio::test]
async fn answer_too_long_to_keep_undoes_its_effect() {
    let service = Service::with(|settings| settings.answer_limit = ByteSize(200)).await;
    let long = "a".repeat(200);
    assert_eq!(service.send("one", "b").await.status, 201);
    let failed = service.send("two", &long).await;
    assert_eq!(outcome(&failed), "500 internal");
    assert_eq!(service.stored().await, (1, 1));
    assert_eq!(service.send("", &long).await.status, 201);
}

#[tokio::test]
async fn request_in_progress_is_not_started_again() {
    let service = Service::new().await;
    let closed = service.gate.lock().await;
    // Either the second is refused at once, or it waits until the first one has ended.
    let retry = async {
        service.begun.notified().await;
        let mut second = std::pin::pin!(service.send("one", "a"));
        let waits = async {
            let pools = || service.keys.database.status();
            while pools().values().all(|pool| pool.waiting == 0) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let refused = tokio::select! {
            refused = &mut second => Some(refused),
            () = waits => None,
        };
        drop(closed);
        match refused {
            Some(refused) => refused,
            None => second.await,
        }
    };
    let (first, second) = tokio::join!(service.send("one", "a"), retry);
    assert_eq!(replay(&first), (201, false));
    if outcome(&second) == "409 idempotency_key_in_use" {
        assert_eq!(second.header("retry-after"), Some("1"));
    } else {
        assert_eq!(second, again(&first));
    }
    assert_eq!(service.send("one", "a").await, again(&first));
    assert_eq!(service.stored().await, (1, 1));
}
