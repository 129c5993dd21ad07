//! A service with every fault that its code can have (`tests/faults`), as a real process: it
//! starts, runs and stops as docs/contract.md says, whatever its handlers, tasks, checks and
//! clients do.

mod clients;
mod descriptors;
mod health;
mod limits;
mod output;
mod phases;
mod pushes;
mod races;
mod readers;
mod reload;
mod starts;
mod surroundings;
mod tasks;
mod threads;
mod websocket;

use std::path::Path;
use std::time::Duration;

use harness::fleet;
use harness::http::{self, Answer, Conversation, Failure};
use harness::service::{Exit, Launch, Service};
use tokio::task::JoinHandle;

/// Much longer than an immediate reaction takes, and much shorter than the drains here.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The faulty service, not started yet. Its request timeout is longer than any test.
fn faulty() -> Launch {
    Service::of(fleet::FAULTS.binary())
        .set("http.request_timeout", "60s")
        .set("shutdown.drain", "15s")
}

/// Sends a request, and waits for its handler's first event.
async fn in_handler(service: &Service, path: &str) -> JoinHandle<Result<Answer, Failure>> {
    let log = service.log().from_now();
    let (address, asked) = (service.http().await, path.to_owned());
    let request = tokio::spawn(async move { http::get(address, &asked).await });
    let name = path.trim_start_matches('/').split('?').next().unwrap();
    log.event(&format!("{name} begun")).await;
    request
}

/// Sends a GET request to the public listener.
async fn get(service: &Service, path: &str) -> Answer {
    http::get(service.http().await, path).await.unwrap()
}

/// Sends a GET request to the public listener, and leaves the answer to the test.
async fn begin(service: &Service, path: &str) -> Conversation {
    let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n");
    let client = Conversation::begin(service.http().await, request).await;
    client.unwrap()
}

/// Asserts that the operator's listener answers every probe with 200.
async fn assert_probes_pass(service: &Service) {
    for path in ["/livez", "/readyz", "/startupz"] {
        let answer = service.ask(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer}");
    }
}

/// How often the log has this message.
fn count(exit: &Exit, message: &str) -> usize {
    let events = exit.events.iter();
    events.filter(|event| event.message == message).count()
}

/// The abandoned work that the event `stopped` lists.
#[track_caller]
fn abandoned(exit: &Exit) -> &str {
    let stopped = exit.event("stopped").unwrap();
    let abandoned = stopped.field("abandoned").as_str();
    abandoned.unwrap_or_else(|| panic!("nothing was abandoned: {exit}"))
}

/// Asserts a stop that abandoned nothing.
#[track_caller]
fn clean(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit}");
    let last = exit.events.last().unwrap();
    assert_eq!(last.message, "stopped", "{exit}");
    assert_eq!(last.field("outcome"), "clean", "{exit}");
    assert!(last.field("abandoned").is_null(), "{exit}");
}

/// The names of the files in a directory, in order.
fn left_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
