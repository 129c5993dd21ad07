//! The monitor, and whatever can become of its database: a link that goes dead, a server
//! that restarts or is not there yet, a process that is killed, clients that leave, a disk that is
//! full. No row that was acknowledged is lost, nobody waits for long, and nothing needs a hand.

mod cancellations;
mod crashes;
mod dead_link;
mod disk;
mod exhaustion;
mod idempotency;
mod replicas;
mod restarts;
mod starts;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::fleet;
use harness::http::{self, Answer, Request};
use harness::service::{Launch, Service};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Much longer than an answer that waits for nothing takes, also on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// What a limit may be exceeded by, on a busy machine.
const SLACK: Duration = Duration::from_millis(700);

/// The service whose database is a file, in its working directory.
fn on_sqlite() -> Launch {
    quiet(&fleet::MONITOR.binary())
}

/// It asks the database only what it is asked for, and nobody else anything.
fn quiet(binary: &Path) -> Launch {
    Service::of(binary).set("monitor.scheduled", false)
}

/// The service on a Postgres.
fn on_postgres(url: &str) -> Launch {
    quiet(&fleet::MONITOR_ON_POSTGRES.binary()).env("APP__DATABASE__URL", url)
}

fn new_target(url: &str) -> Request {
    Request::post("/v1/targets").json(&json!({ "url": url }))
}

/// Adds a target, which must be possible, and says which number it has.
async fn add(address: SocketAddr, url: &str) -> i64 {
    let answer = http::send(address, new_target(url)).await.unwrap();
    assert_eq!(answer.status, 201, "{answer}");
    answer.json()["id"].as_i64().unwrap()
}

/// The answer to a request, and how long that took.
async fn timed(address: SocketAddr, request: Request) -> (Answer, Duration) {
    let began = Instant::now();
    let answer = http::send(address, request).await.unwrap();
    (answer, began.elapsed())
}

/// So many requests at once: the answers, in the order in which they came.
async fn at_once(address: SocketAddr, count: usize, path: &str) -> Vec<(Answer, Duration)> {
    let requests = (0..count).map(|_| timed(address, Request::get(path)));
    requests.collect::<JoinSet<_>>().join_all().await
}

/// A number of the pool, as the operator sees it.
async fn pool(service: &Service, number: &str) -> u64 {
    let state = service.ask("/api/state").await.json();
    let found = &state["database"]["connections"][number];
    found
        .as_u64()
        .unwrap_or_else(|| panic!("{number}: {state}"))
}

/// Asks both listeners for both probes, until it is aborted or dropped: each answer must come at
/// once, and say that all is well.
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

/// All of the probes so far were as they must be.
async fn probed_well(mut probing: JoinSet<()>) {
    probing.abort_all();
    if let Some(Err(error)) = probing.join_next().await {
        assert!(error.is_cancelled(), "{error}");
    }
}

/// The URLs of all targets, in the order of their numbers.
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
