//! Exports of all results of a target in one response, of any length, under failures.

use std::net::SocketAddr;
use std::time::Duration;

use harness::http::{self, Request};
use harness::service::{Launch, Service, Signal};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const MIB: u64 = 1024 * 1024;

/// An upper bound: only a failing test waits this long.
const PATIENCE: Duration = Duration::from_mins(3);

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
    run(&service, &fill).await;
    service
}

/// Runs statements on the database, in another process.
pub(crate) async fn run(service: &Service, statements: &str) -> String {
    let database = service.directory().join("data/service.db");
    // The service may hold the write lock.
    let waits = format!(".timeout {}", PATIENCE.as_millis());
    let sqlite = Service::of("sqlite3").arg("-cmd").arg(waits);
    let sqlite = sqlite.arg(database).arg(statements);
    let ran = sqlite.patience(PATIENCE).run().await.unwrap();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    ran.stdout
}

/// A client that reads an export only as far as the test demands.
struct Reader {
    stream: TcpStream,
    lines: usize,
    end: Vec<u8>,
}

impl Reader {
    /// Sends the request, and reads the first bytes.
    async fn ask(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // A small buffer, so that unread data stays in the service.
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let request =
            "GET /v1/targets/1/checks.ndjson HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Self {
            stream,
            lines: 0,
            end: Vec::new(),
        };
        let first = reader.read().await;
        assert!(
            first.starts_with(b"HTTP/1.1 200"),
            "the response has status 200"
        );
        reader
    }

    /// Reads some bytes: none at the end. The last bytes show whether the response is complete.
    async fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes)).await;
        bytes.truncate(read.expect("a read within the time limit").unwrap_or(0));
        for byte in &bytes {
            let is_end = self.end.last() == Some(&b'}') && *byte == b'\n';
            self.lines += usize::from(is_end);
            self.end.push(*byte);
        }
        let old = self.end.len().saturating_sub(64);
        self.end.drain(..old);
        bytes
    }

    /// Reads the rest, and returns whether the response is complete.
    async fn finish(&mut self) -> bool {
        while !self.read().await.is_empty() {}
        self.end.ends_with(b"\r\n0\r\n\r\n")
    }
}

#[tokio::test]
async fn export_of_a_million_rows_uses_constant_memory() {
    const RESULTS: usize = 1_000_000;
    // A slow reader is not closed before `http.write_timeout`.
    let launch = crate::monitor().set("http.write_timeout", "10m");
    let service = with_results(launch, RESULTS).await;
    let address = service.http().await;
    let at_first = service.rss();

    let mut reader = Reader::ask(address).await;
    assert!(reader.finish().await, "the response is complete");
    assert_eq!(reader.lines, RESULTS);
    let one = service.peak_rss();

    // More slow readers than database connections.
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(Reader::ask(address).await);
    }
    let others = http::get(address, "/v1/targets").await.unwrap();
    assert_eq!(others.status, 200, "no export holds a connection");
    for _ in 0..20 {
        for reader in &mut slow {
            assert!(!reader.read().await.is_empty(), "the response continues");
        }
    }
    assert!(
        slow.pop().unwrap().finish().await,
        "the response is complete"
    );

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
    let mut reader = Reader::ask(service.http().await).await;
    run(&service, "ALTER TABLE checks RENAME TO gone").await;

    assert!(
        !reader.finish().await,
        "the truncated response looks complete"
    );

    assert!((1..200_000).contains(&reader.lines), "{}", reader.lines);
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
        let mut reader = Reader::ask(service.http().await).await;
        service.signal(Signal::TERM);
        service.event("draining").await;
        if reads {
            assert!(reader.finish().await, "the response is complete");
            assert_eq!(reader.lines, 200_000);
        }
        let exit = service.exit().await;
        assert_eq!(exit.code, Some(if reads { 0 } else { 3 }), "{exit}");
        if !reads {
            assert!(
                !reader.finish().await,
                "the truncated response looks complete"
            );
        }
    }
}
