//! The log is complete when the process has ended, whatever its destination.

use harness::http;
use harness::service::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{clean, faulty, running};

/// The file is copied to standard output, so that the test sees it too.
const TO_A_FILE: &str = r#": > log; tail --follow --lines=+1 --pid=$$ log & exec "$0" "$@" >> log"#;

#[tokio::test]
async fn pipe_gets_every_event_to_the_last() {
    const REQUESTS: usize = 400;
    let service = running(faulty()).await;
    let address = service.http().await;
    let mut clients = JoinSet::new();
    for _ in 0..REQUESTS {
        clients.spawn(async move { http::get(address, "/slow?ms=0").await });
    }
    for answer in clients.join_all().await {
        assert_eq!(answer.unwrap().status, 200);
    }
    let log = service.log().clone();

    let exit = service.stop().await;

    clean(&exit);
    let requests = exit
        .events
        .iter()
        .filter(|event| event.message == "request");
    assert_eq!(requests.count(), REQUESTS);
    assert_eq!(log.strays(), Vec::<String>::new());
}

#[tokio::test]
async fn file_gets_every_event_to_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let service = faulty()
        .directory(directory.path())
        .by_way_of("sh", ["-c", TO_A_FILE]);
    let service = running(service).await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    let text = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(text.ends_with("}\n"), "{text}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["message"], "stopped", "{text}");
    assert_eq!(last["outcome"], "clean", "{text}");
}

#[tokio::test]
async fn second_signal_flushes_the_log_file() {
    let directory = tempfile::tempdir().unwrap();
    let service = faulty()
        .set("shutdown.delay", "9s")
        .set("shutdown.drain", "1s")
        .directory(directory.path())
        .by_way_of("sh", ["-c", TO_A_FILE]);
    let service = running(service).await;
    service.signal(Signal::TERM);
    service.event("draining").await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(143), "{exit}");
    let text = std::fs::read_to_string(directory.path().join("log")).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["outcome"], "killed", "{text}");
}

#[tokio::test]
async fn closed_log_pipe_does_not_stop_the_service() {
    // Reads ten lines, and exits.
    let script = r#"exec "$0" "$@" > >(sed --unbuffered 10q)"#;
    let service = running(faulty().by_way_of("bash", ["-c", script])).await;
    let address = service.http().await;

    for _ in 0..50 {
        let answer = http::get(address, "/slow?ms=0").await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
    }

    assert_eq!(service.stop().await.code, Some(0));
}
