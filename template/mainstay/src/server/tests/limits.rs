//! A client cannot hold a connection by doing nothing, too little or too much.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::*;

const SHORT: Duration = Duration::from_millis(200);

/// The response to a client that sends this and then nothing, and the traffic. With `http2`, the listener has to
/// detect the protocol first.
async fn silenced(said: &str, http2: bool) -> (String, Traffic) {
    let limits = Limits {
        header_timeout: SHORT,
        idle_timeout: SHORT * 3,
        http2,
        ..PATIENT
    };
    let listener = serve(&limits);
    let mut client = Client::connect(&listener).await;
    client.write(said).await;
    let answer = client.rest().await;
    let traffic = until(&listener, |traffic| traffic.connections == 0).await;
    (answer, traffic)
}

#[tokio::test]
async fn late_head_ends_the_connection() {
    for http2 in [false, true] {
        for said in ["", "G", "P", "GET /quick HTTP/1.1\r\nhost: he"] {
            let (answer, traffic) = silenced(said, http2).await;

            assert_eq!(traffic.closed["late_head"], 1, "{said:?}: {traffic:?}");
            let expected = "HTTP/1.1 408 Request Timeout\r\n\
                            content-length: 0\r\nconnection: close\r\n\r\n";
            assert_eq!(answer, expected, "{said:?}");
        }
    }
    // The preface of HTTP/2 without its end.
    let (_, traffic) = silenced(PREFACE.trim_end(), true).await;
    assert_eq!(traffic.closed["late_head"], 1, "{traffic:?}");
    // A listener without HTTP/2 closes at once.
    for preface in [PREFACE.trim_end(), PREFACE] {
        let (answer, traffic) = silenced(preface, false).await;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 400 ");
        assert!(refused, "{preface:?}: {answer}");
        assert!(traffic.closed.is_empty(), "{preface:?}: {traffic:?}");
    }
}

/// The first bytes of an HTTP/2 client, and its empty frame of settings.
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &str = "\0\0\0\x04\0\0\0\0\0";

/// The head of a GOAWAY frame.
const GOAWAY: &str = "\0\0\x08\x07\0\0\0\0\0";

#[tokio::test]
async fn http2_without_a_request_is_idle_and_gets_a_goaway() {
    for greeting in [PREFACE, &format!("{PREFACE}{SETTINGS}")] {
        let (answer, traffic) = silenced(greeting, true).await;
        assert!(answer.contains(GOAWAY), "{answer:?}");
        assert!(!answer.contains("HTTP/1"), "{answer:?}");
        assert_eq!(traffic.closed, BTreeMap::from([("idle", 1)]));
    }
}

#[tokio::test]
async fn drain_sends_goaway_before_the_first_request() {
    let limits = Limits {
        http2: true,
        ..PATIENT
    };
    let listener = serve(&limits);
    let mut client = Client::connect(&listener).await;
    client.write(&format!("{PREFACE}{SETTINGS}")).await;
    // The listener has acknowledged the settings.
    client.until("\0\0\0\x04\x01\0\0\0\0").await;

    let (cut, said) = tokio::join!(listener.drain(Instant::now() + PATIENCE), client.rest());

    assert_eq!(cut, None);
    assert!(said.contains(GOAWAY), "{said:?}");
}

#[tokio::test]
async fn connection_over_the_limit_waits() {
    let limits = Limits {
        max_connections: 2,
        ..PATIENT
    };
    let listener = serve(&limits);
    let mut first = Client::asks(&listener, "/quick").await;
    let mut second = Client::asks(&listener, "/quick").await;
    first.until("quick").await;
    second.until("quick").await;

    let mut third = Client::asks(&listener, "/quick").await;
    // The operating system has established the third connection; it waits in the backlog.
    first.ask("/quick").await;
    first.until("quick").await;
    let now = traffic(&listener);
    assert_eq!((now.connections, now.accepted), (2, 2));

    drop(second);
    third.until("quick").await;
    assert_eq!(traffic(&listener).accepted, 3);
}

/// A cut connection ends when its task runs next, and sweeps may come first.
#[tokio::test]
async fn slow_reader_is_counted_once() {
    let listener = serve(&PATIENT);
    let _client = Client::asks(&listener, "/big").await;
    until(&listener, |traffic| traffic.in_flight == 1).await;
    let connection = listener.0.connections().remove(0);
    let reasons = async {
        loop {
            let reasons: Vec<_> = (0..100).filter_map(|_| connection.sweep()).collect();
            if !reasons.is_empty() {
                return reasons;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert_eq!(timeout(PATIENCE, reasons).await, Ok(vec!["slow_reader"]));
}
