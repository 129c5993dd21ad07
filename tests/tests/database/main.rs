//! The monitor with failing databases: a dead link, a server that restarts or is not up yet, a
//! killed process, clients that disconnect, a full disk. No acknowledged row is lost, requests fail
//! within their time limits, and recovery needs no operator.

mod cancellations;
mod dead_link;
mod disk;
mod exhaustion;
mod idempotency;
mod replicas;
mod starts;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::eventually;
use harness::fleet;
use harness::http::{self, Answer, Conversation, Request};
use harness::postgres::Postgres;
use harness::service::{Launch, Service};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Far more than an immediate response takes, even on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The tolerance for a limit on a busy machine.
const SLACK: Duration = Duration::from_millis(700);

/// Locks the table until this session is terminated.
const LOCK: &str = "BEGIN; LOCK TABLE targets; SELECT pg_sleep(60)";
const LOCKED: &str = "SELECT count(*) FROM pg_locks \
     WHERE relation = 'targets'::regclass AND mode = 'AccessExclusiveLock' AND granted";
const UNLOCK: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks \
     WHERE relation = 'targets'::regclass AND mode = 'AccessExclusiveLock' AND granted";

/// A service without its scheduler: only the test's requests use the database.
fn quiet(member: fleet::Member) -> Launch {
    Service::of(member.binary()).set("monitor.scheduled", false)
}

/// The service with `SQLite`, in its working directory.
fn on_sqlite() -> Launch {
    quiet(fleet::MONITOR)
}

/// The service with Postgres.
fn on_postgres(postgres: &Postgres) -> Launch {
    with_url(postgres.url("postgres"))
}

fn with_url(url: String) -> Launch {
    quiet(fleet::MONITOR_ON_POSTGRES).env("APP__DATABASE__URL", url)
}

fn new_target(url: &str) -> Request {
    Request::post("/v1/targets").json(&json!({ "url": url }))
}

/// Adds a target, and returns its id.
async fn add(address: SocketAddr, url: &str) -> i64 {
    let answer = http::send(address, new_target(url)).await.unwrap();
    assert_eq!(answer.status, 201, "{answer}");
    answer.json()["id"].as_i64().unwrap()
}

/// The response to a request, and its latency.
async fn timed(address: SocketAddr, request: Request) -> (Answer, Duration) {
    let began = Instant::now();
    let answer = http::send(address, request).await.unwrap();
    (answer, began.elapsed())
}

/// Lists the targets this many times at once, and returns the responses in the order of their
/// arrival.
async fn at_once(address: SocketAddr, count: usize) -> Vec<(Answer, Duration)> {
    let requests = (0..count).map(|_| timed(address, Request::get("/v1/targets")));
    requests.collect::<JoinSet<_>>().join_all().await
}

/// A gauge of the pool from the operator's listener.
async fn pool(service: &Service, number: &str) -> u64 {
    let state = service.ask("/api/state").await.json();
    state["database"]["connections"][number].as_u64().unwrap()
}

/// Waits until this many connections are in use.
async fn until_in_use(service: &Service, connections: usize) {
    let what = format!("{connections} connections in use");
    eventually(&what, async || {
        (pool(service, "in_use").await == connections as u64).then_some(())
    })
    .await;
}

/// Sends both probes to both listeners until it is aborted or dropped: each response must come at
/// once with status 200.
async fn probe(service: &Service) -> JoinSet<()> {
    let addresses = [service.http().await, service.operator().await];
    let mut probing = JoinSet::new();
    probing.spawn(async move {
        loop {
            for address in addresses {
                for path in ["/livez", "/readyz"] {
                    let (answer, took) = timed(address, Request::get(path)).await;
                    assert_eq!(answer.status, 200, "{path}: {answer}");
                    assert!(took < AT_ONCE, "{path} took {took:?}");
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    probing
}

/// Asserts that no probe has failed.
async fn assert_probes_passed(mut probing: JoinSet<()>) {
    probing.abort_all();
    if let Some(Err(error)) = probing.join_next().await {
        assert!(error.is_cancelled(), "{error}");
    }
}

/// The URLs of all targets, ordered by id.
async fn urls(address: SocketAddr) -> Vec<String> {
    let url = |target: &Value| target["url"].as_str().unwrap().to_owned();
    let mut path = "/v1/targets?limit=100".to_owned();
    let mut urls = Vec::new();
    loop {
        let answer = http::get(address, &path).await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        let page = answer.json();
        urls.extend(page["targets"].as_array().unwrap().iter().map(url));
        let Some(next) = page["next"].as_str() else {
            return urls;
        };
        path = format!("/v1/targets?limit=100&cursor={next}");
    }
}

/// Does this while the table is locked, then unlocks it.
async fn while_locked<T>(postgres: &Postgres, work: impl AsyncFnOnce() -> T) -> T {
    let working = async {
        eventually("the table to be locked", async || {
            (postgres.query("postgres", LOCKED).await.unwrap() == "1").then_some(())
        })
        .await;
        let done = work().await;
        postgres.query("postgres", UNLOCK).await.unwrap();
        done
    };
    let (ended, done) = tokio::join!(postgres.query("postgres", LOCK), working);
    assert!(ended.is_err(), "the lock was released too early");
    done
}

/// Sends the request of [`new_target`], and disconnects after a random part of this many
/// microseconds.
async fn post_and_leave(address: SocketAddr, url: &str, head: &str, life: u64) {
    let body = json!({ "url": url }).to_string();
    let length = body.len();
    let request = format!(
        "POST /v1/targets HTTP/1.1\r\nhost: leaver\r\ncontent-type: application/json\r\n\
         {head}content-length: {length}\r\n\r\n{body}"
    );
    leave(address, &request, life).await;
}

async fn leave(address: SocketAddr, request: &str, life: u64) {
    let connection = Conversation::begin(address, request).await.unwrap();
    // The test needs this pause: the client disconnects while its request is in flight.
    tokio::time::sleep(random_part(life)).await;
    connection.abort();
}

/// A random part of this many microseconds.
fn random_part(life: u64) -> Duration {
    Duration::from_micros(RandomState::new().hash_one(life) % life)
}
