//! Clients follow the state of targets, and their streams end at the stop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mainstay::testing::{Binary, Running, Signal, ask, ask_with, get};
use serde_json::{Value, json};

use crate::service;

/// A service that makes requested checks only, and may request this machine.
fn watching() -> Binary {
    service()
        .set("monitor.allow_private", true)
        .set("monitor.batch_delay", "0s")
        .set("monitor.settle", "0s")
}

/// Longer than any operation takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The watched target, which answers with 200 or 404.
struct Watched {
    address: SocketAddr,
    is_up: Arc<AtomicBool>,
}

impl Watched {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, is_up) = (
            listener.local_addr().unwrap(),
            Arc::new(AtomicBool::new(true)),
        );
        let says = Arc::clone(&is_up);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let is_up = says.load(Ordering::Relaxed);
                let status = if is_up { "200 OK" } else { "404 Not Found" };
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                if lines.any(|line| line.is_empty()) {
                    _ = write!(
                        &stream,
                        "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    );
                }
            }
        });
        Self { address, is_up }
    }

    /// Requests a check after the target went up or down.
    fn checked(&self, service: &Running, target: &Value, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
        let path = format!("/v1/targets/{target}/checks");
        assert_eq!(ask(service.http(), "POST", &path, "").status, 202);
    }
}

/// A client of the event stream.
struct Follower {
    head: Vec<String>,
    lines: BufReader<TcpStream>,
}

impl Follower {
    fn of(service: &Running, head: &str) -> Self {
        let mut connection = TcpStream::connect(service.http()).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            connection,
            "GET /v1/events HTTP/1.1\r\nhost: {}\r\n{head}\r\n",
            service.http()
        )
        .unwrap();
        let mut follower = Self {
            head: Vec::new(),
            lines: BufReader::new(connection),
        };
        while follower.head.last().is_none_or(|line| !line.is_empty()) {
            let line = follower.line();
            follower.head.push(line);
        }
        follower
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "it has ended");
        line.trim_end().to_owned()
    }

    /// The next event: its id, name and data.
    fn event(&mut self) -> (String, String, Value) {
        let [id, event, data] = ["id: ", "event: ", "data: "].map(|field| {
            loop {
                if let Some(value) = self.line().strip_prefix(field) {
                    return value.to_owned();
                }
            }
        });
        (id, event, serde_json::from_str(&data).unwrap())
    }
}

fn added(service: &Running, watched: &Watched) -> Value {
    let body = json!({ "url": format!("http://{}/", watched.address) });
    let created = ask(service.http(), "POST", "/v1/targets", &body.to_string());
    assert_eq!(created.status, 201, "{}", created.body);
    created.json()["id"].clone()
}

#[test]
fn followers_get_changes_live_and_those_they_missed() {
    let (service, watched) = (watching().start(), Watched::listen());
    let target = added(&service, &watched);
    // A stream that is buffered for compression would arrive late.
    let mut follower = Follower::of(&service, "accept-encoding: gzip\r\n");
    assert_eq!(follower.head[0], "HTTP/1.1 200 OK");
    for header in [
        "content-type: text/event-stream",
        "cache-control: no-store",
        "x-accel-buffering: no",
    ] {
        assert!(
            follower.head.iter().any(|line| line == header),
            "{:?}",
            follower.head
        );
    }
    let is_packed = |line: &String| line.starts_with("content-encoding");
    assert!(!follower.head.iter().any(is_packed), "{:?}", follower.head);
    assert!(!follower.line().is_empty(), "there is more at once");

    watched.checked(&service, &target, true);
    let (first, event, data) = follower.event();
    assert_eq!(
        (event.as_str(), &data["is_up"]),
        ("up", &true.into()),
        "{data}"
    );
    watched.checked(&service, &target, false);
    let (second, event, data) = follower.event();
    assert_eq!(
        (event.as_str(), &data["reason"]),
        ("down", &"status".into())
    );
    assert_eq!(data["target_id"], target, "{data}");

    let mut again = Follower::of(&service, &format!("last-event-id: {first}\r\n"));
    let (id, event, _) = again.event();
    assert_eq!((id, event.as_str()), (second, "down"));
    let wrong = ask_with(
        service.http(),
        "GET",
        "/v1/events",
        &[("last-event-id", "last")],
        "",
    );
    assert_eq!(
        (wrong.status, &wrong.json()["errors"][0]["header"]),
        (400, &"last-event-id".into())
    );
    let metrics = service.metrics();
    assert_eq!(metrics.count("monitor_streams"), 2);
    assert_eq!(metrics.count(r#"monitor_changes_total{change="down"}"#), 1);
}

#[test]
fn stop_ends_all_event_streams_at_once() {
    let service = watching().set("monitor.max_streams", 2).start();
    let mut followers = [
        Follower::of(&service, ""),
        Follower::of(&service, "last-event-id: 0\r\n"),
    ];
    let refused = get(service.http(), "/v1/events");
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &"too_many_streams".into())
    );
    let began = Instant::now();

    service.signal(Signal::TERM);

    for follower in &mut followers {
        let mut rest = String::new();
        follower.lines.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("0\r\n\r\n"), "a good end: {rest:?}");
    }
    assert_eq!(service.event("stopped")["outcome"], "clean");
    assert_eq!(service.ended().code(), Some(0));
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "the drain has waited: {took:?}"
    );
}

#[test]
fn monitor_check_reports_stuck_work() {
    let service = service().start();
    let ready = get(service.http(), "/readyz?verbose");
    assert!(
        ready.status == 200 && ready.body.contains("[+] monitor: passes"),
        "{}",
        ready.body
    );
}
