//! At the limit on open files, new connections wait until one closes, and the service works.

use std::fs;
use std::process::Command;
use std::time::Instant;

use harness::http::{Conversation, Http1, Request};
use harness::service::Service;

use crate::{AT_ONCE, assert_probes_pass, begin, count, faulty};

/// Fewer than clients come, and than `http.max_connections` allows.
const FILES: usize = 64;

/// Answered at once.
const QUICK: &str = "/slow?ms=0";

/// The event when the service cannot accept.
const FULL: &str = "cannot accept connections";

/// The event when the limit on files is too low for the settings.
const SHORT: &str =
    "http.max_connections is beyond the limit on open files (LimitNOFILE, ulimit -n)";

/// A service that cannot open another file and has logged that, an earlier connection of the operator, and the
/// connected clients.
async fn full() -> (Service, Http1, Vec<Conversation>) {
    let service = faulty().ready().await;
    // From outside: the service itself keeps some files in reserve.
    let (pid, files) = (service.pid().to_string(), format!("--nofile={FILES}"));
    let limited = Command::new("prlimit")
        .args(["--pid", &pid, &files])
        .status();
    assert!(limited.unwrap().success());
    let mut operator = Http1::connect(service.operator().await).await.unwrap();
    assert_eq!(operator.get("/livez").await.unwrap().status, 200);
    let mut inside = Vec::new();
    // Each is served before the next one connects: the last one takes the last descriptor.
    while room(&service) > 0 {
        let mut client = begin(&service, QUICK).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        inside.push(client);
    }
    // `accept` fails even if no client waits.
    let event = service.event(FULL).await;
    assert_eq!(event.field("listener"), "http", "{event}");
    (service, operator, inside)
}

/// How many more files the service may open.
fn room(service: &Service) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap();
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // Inherited ones may have high numbers, which do not count towards the limit.
    FILES - numbers.filter(|number: &usize| *number < FILES).count()
}

#[tokio::test]
async fn without_descriptors_connections_wait_and_are_served_later() {
    let (service, mut operator, mut inside) = full().await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(begin(&service, QUICK).await);
    }

    // Connected clients are served. Meanwhile, there are some dozens of attempts to accept.
    let (began, used) = (Instant::now(), service.cpu_time());
    let request = "GET /slow?ms=3000 HTTP/1.1\r\nhost: here\r\n\r\n";
    inside[0].write(request).await.unwrap();
    assert_eq!(inside[0].answer().await.unwrap().status, 200);
    let (took, used) = (began.elapsed(), service.cpu_time().saturating_sub(used));
    println!("{used:?} of work in {took:?}");
    assert!(used < took / 10, "the service spins: {used:?} of {took:?}");
    for path in ["/livez", "/readyz", "/startupz"] {
        let answer = operator.get(path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {answer}");
    }
    for client in &waiting {
        assert!(!client.is_over(), "waiting clients are not refused");
    }

    inside.truncate(1);

    for client in &mut waiting {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let exit = service.stop().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    assert_eq!(count(&exit, FULL), 1, "{exit}");
}

#[tokio::test]
async fn clients_leave_descriptors_for_the_probes() {
    let launch = faulty().wrapped_by("prlimit", ["--nofile=200:200"]);
    let service = launch.ready().await;
    let event = service.event(SHORT).await;
    let room = event.field("connections").as_u64().unwrap();
    let room = usize::try_from(room).unwrap();
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(begin(&service, QUICK).await);
    }
    // The last one that fits has its response; the others wait.
    assert_eq!(clients[room - 1].answer().await.unwrap().status, 200);

    assert_probes_pass(&service).await;
    clients.remove(0);
    assert_eq!(clients[room - 1].answer().await.unwrap().status, 200);
    let exit = service.stop().await;
    assert_eq!(count(&exit, FULL), 0, "{exit}");
}

#[tokio::test]
async fn probe_without_a_descriptor_is_answered_later() {
    let (service, mut operator, inside) = full().await;
    let said = "GET /readyz HTTP/1.1\r\nhost: here\r\n\r\n";
    let probe = Conversation::begin(service.operator().await, said).await;
    let mut probe = probe.unwrap();
    let full = service.wait_for("the operator's listener to be full", |event| {
        event.message == FULL && event.field("listener") == "operator"
    });
    full.await;
    assert_eq!(operator.get("/readyz").await.unwrap().status, 200);

    drop(inside);

    assert_eq!(probe.answer().await.unwrap().status, 200);
}

#[tokio::test]
async fn service_stops_without_descriptors() {
    let (service, mut operator, _inside) = full().await;
    let mut next = begin(&service, QUICK).await;

    // Neither a signal nor the operator's request needs a file.
    let asked = operator.send(Request::post("/api/stop")).await.unwrap();

    assert_eq!(asked.status, 202, "{asked}");
    let began = Instant::now();
    let exit = service.exit().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(began.elapsed() < AT_ONCE, "{exit}");
    let cause = exit.event("draining").unwrap().field("cause").to_string();
    assert!(cause.contains("operator"), "{exit}");
    next.closed().await.unwrap();
}
