//! Exports of all results of a target in one response, of any length, under failures.

use std::net::SocketAddr;
use std::time::Duration;

use harness::http::{self, Conversation, Request};
use harness::service::{Launch, Service, Signal};
use serde_json::json;

const MIB: u64 = 1024 * 1024;

/// An upper bound: only a failing test waits this long.
const PATIENCE: Duration = Duration::from_mins(10);

/// A service with one target and this many results, one per millisecond.
async fn with_results(launch: Launch, count: usize) -> Service {
    let service = launch.ready().await;
    let target = Request::post("/v1/targets").json(&json!({"url": "http://a.example"}));
    let added = http::send(service.http().await, target).await.unwrap();
    assert_eq!(added.status, 201, "{added}");
    let fill = format!(
        "INSERT INTO schedule (target_id, due_at) VALUES (1, 0);
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
         INSERT INTO checks SELECT 1, unixepoch() * 1000 - n, unixepoch() * 1000, NULL, 200, 31 FROM numbers;"
    );
    sql(&service, &fill).await;
    service
}

/// Runs statements on the database, in another process.
pub(crate) async fn sql(service: &Service, statements: &str) -> String {
    let database = service.directory().join("data/service.db");
    // The service may hold the write lock.
    let waits = format!(".timeout {}", PATIENCE.as_millis());
    let sqlite = Service::of("sqlite3").arg("-cmd").arg(waits);
    let sqlite = sqlite.arg(database).arg(statements);
    let ran = sqlite.timeout(PATIENCE).run().await.unwrap();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    ran.stdout
}

/// Requests the export, and reads the head of the response. The rest waits until a test reads it.
async fn ask(address: SocketAddr) -> Conversation {
    // A small buffer, so that unread data stays in the service.
    let reader = Conversation::open_narrow(address, 8 * 1024).await;
    let mut reader = reader.unwrap();
    reader.within(PATIENCE);
    let request =
        "GET /v1/targets/1/checks.ndjson HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    reader.write(request).await.unwrap();
    let head = reader.head().await.unwrap();
    assert_eq!(head.status, 200, "{head}");
    reader
}

/// Reads the rest. Returns its number of lines, and whether the response is complete.
async fn finish(reader: &mut Conversation) -> (usize, bool) {
    let rest = reader.closed().await.unwrap().rest;
    let lines = rest.windows(2).filter(|pair| pair == b"}\n").count();
    (lines, rest.ends_with(b"\r\n0\r\n\r\n"))
}

#[tokio::test]
async fn export_of_a_million_rows_uses_constant_memory() {
    const RESULTS: usize = 1_000_000;
    // A slow reader is not closed before `http.write_timeout`.
    let launch = crate::monitor().set("http.write_timeout", "10m");
    let service = with_results(launch, RESULTS).await;
    let address = service.http().await;
    let at_first = service.rss();

    let mut reader = ask(address).await;
    assert_eq!(finish(&mut reader).await, (RESULTS, true));
    let one = service.peak_rss();

    // More slow readers than database connections.
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(ask(address).await);
    }
    let others = http::get(address, "/v1/targets").await.unwrap();
    assert_eq!(others.status, 200, "no export holds a connection");
    for _ in 0..20 {
        for reader in &mut slow {
            reader.exactly(16 * 1024).await.unwrap();
        }
    }
    let (_, is_complete) = finish(&mut slow.pop().unwrap()).await;
    assert!(is_complete, "the response is complete");

    let most = service.peak_rss();
    println!(
        "{} MiB at first, {} at most with one reader, {} with twenty",
        at_first / MIB,
        one / MIB,
        most / MIB
    );
    assert!(most < 64 * MIB, "{} MiB", most / MIB);
    drop(slow);
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn interrupted_export_is_visibly_incomplete() {
    let service = with_results(crate::monitor(), 200_000).await;
    let mut reader = ask(service.http().await).await;
    sql(&service, "ALTER TABLE checks RENAME TO gone").await;

    let (lines, is_complete) = finish(&mut reader).await;

    assert!(!is_complete, "the truncated response looks complete");
    assert!((1..200_000).contains(&lines), "{lines}");
    let event = service.event("an export was aborted").await;
    assert!(event.field("request_id").is_string(), "{event}");
    let metrics = service.ask("/metrics").await;
    let counted = "monitor_exports_total{outcome=\"broken\"} 1";
    assert!(metrics.text().contains(counted), "{metrics}");
}

#[tokio::test]
async fn export_may_finish_during_the_drain() {
    for reads in [true, false] {
        let drain = if reads { "60s" } else { "500ms" };
        let launch = crate::monitor()
            .set("shutdown.drain", drain)
            .set("shutdown.grace", "100s");
        let service = with_results(launch, 200_000).await;
        let mut reader = ask(service.http().await).await;
        service.signal(Signal::TERM);
        service.event("draining").await;
        if reads {
            assert_eq!(finish(&mut reader).await, (200_000, true));
        }
        let exit = service.exit().await;
        assert_eq!(exit.code, Some(if reads { 0 } else { 3 }), "{exit}");
        if !reads {
            let (_, is_complete) = finish(&mut reader).await;
            assert!(!is_complete, "the truncated response looks complete");
        }
    }
}
