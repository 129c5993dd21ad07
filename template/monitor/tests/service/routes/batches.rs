//! Batches of URLs are checked; invalid ones are refused with a reason.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use mainstay::testing::{Answer, Binary, ask};
use serde_json::{Value, json};

use crate::service;

/// An event of the peer.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// A request for `/silence` came.
    Asked,
    /// Its client left without a response.
    Left,
}

/// Longer than any operation takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A peer that answers with the status in the path, and never to `/silence`.
fn peer() -> (SocketAddr, Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, seen) = channel();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let tell = tell.clone();
            thread::spawn(move || converse(connection, &tell));
        }
    });
    (address, seen)
}

fn converse(mut connection: TcpStream, tell: &Sender<Seen>) -> Option<()> {
    let mut lines = BufReader::new(connection.try_clone().ok()?).lines();
    while let Some(Ok(first)) = lines.next() {
        let status = first.split([' ', '/']).nth(2)?.to_owned();
        while !lines.next()?.ok()?.is_empty() {}
        if status == "silence" {
            tell.send(Seen::Asked).ok()?;
            _ = lines.next();
            return tell.send(Seen::Left).ok();
        }
        write!(
            connection,
            "HTTP/1.1 {status} .\r\ncontent-length: 0\r\n\r\n"
        )
        .ok()?;
    }
    Some(())
}

/// A service that may request this machine, with long time limits.
fn local() -> Binary {
    service()
        .set("monitor.allow_private", true)
        .set("monitor.batch_timeout", "1h")
        .set("http.request_timeout", "1h")
}

/// The outcome of each URL in a word: its status, or why there is none.
fn words(answer: &Answer) -> Vec<String> {
    let word = |check: &Value| match &check["result"] {
        Value::Null => check["error"].as_str().unwrap().to_owned(),
        result if result["status"].is_null() => result["reason"].as_str().unwrap().to_owned(),
        result => result["status"].to_string(),
    };
    let checks = answer.json()["checks"].clone();
    checks.as_array().unwrap().iter().map(word).collect()
}

#[test]
fn many_urls_are_checked_at_once_and_each_is_answered() {
    let service = local().start();
    let (peer, _seen) = peer();
    // A reserved port without a listener: that of a connection.
    let held = TcpStream::connect(peer).unwrap();
    let deaf = held.local_addr().unwrap();
    let mut urls = vec![format!("http://{peer}/200"); 998];
    urls.insert(7, format!("http://{deaf}/200"));
    urls.push(format!("http://{peer}/404#behind"));

    let answer = ask(
        service.http(),
        "POST",
        "/v1/checks",
        &json!({ "urls": urls }).to_string(),
    );

    assert_eq!(answer.status, 200, "{}", answer.body);
    let words = words(&answer);
    let up = words.iter().filter(|word| *word == "200");
    assert_eq!((words.len(), up.count()), (1000, 998));
    assert_eq!([&words[7], &words[999]], ["connect", "404"]);
    let report = answer.json();
    assert_eq!(
        report["checks"][999]["url"],
        format!("http://{peer}/404"),
        "as it was asked for"
    );
    let totals = json!({"up": 998, "down": 2, "given_up": 0, "not_in_time": 0, "failed": 0});
    assert_eq!(report["totals"], totals);
    let metrics = service.metrics();
    let counted = metrics.count(r#"monitor_batch_checks_total{outcome="up"}"#);
    assert_eq!(counted, 998);
}

#[test]
fn batch_names_checks_that_were_not_in_time() {
    let service = local().set("http.request_timeout", "5s").start();
    let (peer, seen) = peer();
    let urls = [
        format!("http://{peer}/silence"),
        format!("http://{peer}/200"),
    ];
    let answer = ask(
        service.http(),
        "POST",
        "/v1/checks",
        &json!({ "urls": urls }).to_string(),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(words(&answer), ["not_in_time", "200"]);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Seen::Asked);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Seen::Left);
}

#[test]
fn batch_enforces_its_documented_limits() {
    let service = local().start();
    let (peer, _seen) = peer();
    let [silence, missing] = ["silence", "404"].map(|path| format!("http://{peer}/{path}"));
    let made = |body: Value| {
        let answer = ask(service.http(), "POST", "/v1/checks", &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
        words(&answer)
    };
    // Otherwise each would wait for an hour.
    let impatient = json!({ "urls": [silence], "timeout_seconds": 1 });
    assert_eq!(made(impatient), ["timeout"]);
    let strict = json!({ "urls": [silence, missing], "max_failures": 1 });
    assert_eq!(made(strict), ["given_up", "404"]);
}

#[test]
fn no_request_is_sent_for_a_client_that_has_left() {
    let service = local().start();
    let (peer, seen) = peer();
    let body = json!({ "urls": [format!("http://{peer}/silence")], "timeout_seconds": 3600 });
    let body = body.to_string();
    let mut client = TcpStream::connect(service.http()).unwrap();
    write!(
        client,
        "POST /v1/checks HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        service.http(),
        body.len(),
    )
    .unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Seen::Asked);
    drop(client);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Seen::Left);
}

#[test]
fn refused_batch_names_each_wrong_place() {
    let service = service().start();
    let refused = |body: Value| {
        let answer = ask(service.http(), "POST", "/v1/checks", &body.to_string());
        assert_eq!(answer.status, 422, "{}", answer.body);
        let faults = answer.json()["errors"].clone();
        let faults = faults.as_array().unwrap().iter();
        let places = faults.map(|fault| fault["pointer"].as_str().unwrap().to_owned());
        places.collect::<Vec<_>>()
    };
    let url = "https://example.org/";
    let some = json!({ "urls": [url, "ftp://example.org", url, "https://me@example.org"] });
    assert_eq!(refused(some), ["/urls/1", "/urls/3"]);
    assert_eq!(refused(json!({ "urls": [] })), ["/urls"]);
    assert_eq!(refused(json!({ "urls": vec![url; 1001] })), ["/urls"]);
    assert_eq!(refused(json!({ "urls": [url], "url": 1 })), ["/url"]);
    let never = json!({ "urls": [url], "max_failures": 0, "timeout_seconds": 0 });
    assert_eq!(refused(never), ["/max_failures", "/timeout_seconds"]);
}

#[test]
fn client_beyond_its_rate_limit_gets_429() {
    let service = service()
        .set("monitor.max_batch", 5)
        .set("monitor.asked_at_once", 7)
        .set("monitor.asked_per_minute", 1)
        .start();
    let ask = |path: &str, count: usize| {
        // No request is sent: the address is not public.
        let urls = vec!["http://127.0.0.1/"; count];
        let body = json!({ "urls": urls }).to_string();
        ask(service.http(), "POST", path, &body)
    };
    assert_eq!(ask("/v1/checks", 5).status, 200);

    let refused = ask("/v1/checks", 3);

    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &"too_many_requests".into())
    );
    let after = refused
        .header("retry-after")
        .unwrap()
        .parse::<u64>()
        .unwrap();
    assert!((50..=60).contains(&after), "{after}");
    assert_eq!(ask("/v1/checks", 1).status, 200, "there was something left");
    assert_eq!(ask("/v1/targets/99/checks", 0).status, 404);
    assert_eq!(ask("/v1/targets/99/checks", 0).status, 429);
    assert_eq!(ask("/v1/targets", 0).status, 422, "anything else goes on");
}
