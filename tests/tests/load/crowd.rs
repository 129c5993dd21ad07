//! Ten thousand connections at once: each is counted, and none delays a probe, another request or the stop.

use std::time::{Duration, Instant};

use harness::crowd::{Count, Crowd, Manner, make_room, welcoming};
use harness::http::get;
use harness::service::{Exit, Service, Signal};
use tokio::sync::{Mutex, MutexGuard};

use crate::service;

const CROWD: usize = 10_000;

/// The drains: for requests that never end, for connections without requests, and for requests that
/// complete, on a debug build and a busy machine.
const DRAIN: Duration = Duration::from_secs(3);
const LONG_DRAIN: Duration = Duration::from_secs(20);
const LONGEST_DRAIN: Duration = Duration::from_mins(2);

/// The tolerance for a stop beyond its drain. A release build on an idle machine needs far less
/// than a second; this is for a debug build while others compile.
const BEYOND: Duration = Duration::from_secs(6);

/// Two crowds would exceed the limit on open files of one process.
static PLACE: Mutex<()> = Mutex::const_new(());

/// Starts a service that accepts a crowd. It has raised its limit on files itself.
async fn prepared(drain: Duration) -> (MutexGuard<'static, ()>, Service) {
    let place = PLACE.lock().await;
    make_room(CROWD).unwrap();
    let launch = service()
        .wrapped_by("prlimit", ["--nofile=1024:"])
        .set("shutdown.drain", format!("{}s", drain.as_secs()))
        .set("shutdown.grace", "10m");
    (place, welcoming(launch, CROWD).ready().await)
}

async fn gather(service: &Service, manner: Manner, size: usize) -> Crowd {
    let began = Instant::now();
    let crowd = Crowd::gather(service, manner, size).await.unwrap();
    let (took, bytes) = (began.elapsed(), crowd.bytes_each);
    println!("{size} {manner:?}: {bytes} bytes each, gathered in {took:?}");
    crowd
}

/// Sends every probe on its own connection, and one other request, beside the crowd.
async fn answers_quickly(service: &Service) {
    let (operator, http) = (service.operator().await, service.http().await);
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let probes = ["/livez", "/readyz", "/startupz"].map(|path| (operator, path));
        for (address, path) in probes.into_iter().chain([(http, "/v1/targets")]) {
            let began = Instant::now();
            let answer = get(address, path).await.unwrap();
            slowest = slowest.max(began.elapsed());
            assert_eq!(answer.status, 200, "{path}: {answer}");
        }
    }
    println!("the slowest answer beside the crowd took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// Asserts that the stop was in time, with this code, and that `stopped` is the last event.
#[track_caller]
fn ended(exit: &Exit, drain: Duration, code: i32) {
    println!("the stop took {:?}", exit.took);
    assert_eq!(exit.code, Some(code), "{exit}");
    assert!(exit.took < drain + BEYOND, "took {:?}: {exit}", exit.took);
    assert_eq!(exit.events.last().unwrap().message, "stopped", "{exit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_cuts_and_counts_those_in_flight_of_10_000() {
    let (_place, service) = prepared(DRAIN).await;
    let _idle = gather(&service, Manner::Idle, 3000).await;
    let _silent = gather(&service, Manner::Silent, 1000).await;
    let _half_open = gather(&service, Manner::HalfOpen, 3000).await;
    let _busy = gather(&service, Manner::Busy, 3000).await;
    let all = Count {
        connections: CROWD,
        in_flight: 3000,
    };
    all.reached_by(&service).await;
    answers_quickly(&service).await;

    let exit = service.stop().await;

    ended(&exit, DRAIN, 3);
    assert!(exit.took >= DRAIN, "took {:?}", exit.took);
    let abandoned = exit.event("stopped").unwrap().field("abandoned");
    assert_eq!(abandoned, "3000 http connections (/v1/targets ×3000)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_closes_10_000_connections_without_requests() {
    let (_place, service) = prepared(LONG_DRAIN).await;
    let _idle = gather(&service, Manner::Idle, 4000).await;
    let _silent = gather(&service, Manner::Silent, 2000).await;
    let _half_open = gather(&service, Manner::HalfOpen, 4000).await;

    let exit = service.stop().await;

    ended(&exit, LONG_DRAIN, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_answers_10_000_requests_in_flight() {
    let (_place, service) = prepared(LONGEST_DRAIN).await;
    let mut busy = gather(&service, Manner::Busy, CROWD).await;
    answers_quickly(&service).await;

    service.signal(Signal::TERM);
    service.event("draining").await;

    for answer in busy.finish().await.unwrap() {
        assert_eq!(answer.status, 422, "{answer}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer}");
    }
    ended(&service.exit().await, LONGEST_DRAIN, 0);
}
