//! Floods of HTTP/2 frames that cost their sender little.

use std::iter;
use std::time::Duration;

use harness::eventually;
use harness::http::{Conversation, Http2, Kind};
use harness::service::Service;

use crate::{Before, assert_unaffected, faulty, ready};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;

/// The HPACK encoding of `:method GET`, `:scheme http`, `:path /`, `:authority here`.
const GET: &[u8] = b"\x82\x86\x84\x41\x04here";
/// `POST` to `/raw`, which reads the whole body.
const POST: &[u8] = b"\x83\x86\x44\x04/raw\x41\x04here";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

async fn running() -> (Service, Before) {
    let launch = faulty().set("http.http2", true);
    ready(launch.set("http.write_timeout", "2s")).await
}

/// Begins a conversation in HTTP/2 with these frames.
async fn begin(service: &Service, frames: &[u8]) -> Conversation {
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[]), frames].concat();
    let client = Conversation::begin(service.http().await, begin).await;
    let mut client = client.unwrap();
    client.within(Duration::from_secs(10));
    client
}

/// Sends these pieces without reading a response, and returns whether the service closed the
/// connection.
async fn flood(service: &Service, pieces: impl Iterator<Item = Vec<u8>>) -> bool {
    let mut client = begin(service, &[]).await;
    for piece in pieces {
        if let Err(failure) = client.write(piece).await {
            assert_ne!(failure.kind, Kind::Late, "{failure}");
            return true;
        }
    }
    client.closed().await.is_ok()
}

/// Asserts that other clients are served during and after the flood.
async fn survived(service: &Service, before: Before) {
    let other = Http2::connect(service.http().await).await.unwrap();
    assert_eq!(other.get("/slow?ms=0").await.unwrap().status, 200);
    assert_eq!(service.ask("/livez").await.status, 200);
    assert_unaffected(service, before).await;
}

/// Frames, piece by piece.
type Pieces = Box<dyn Iterator<Item = Vec<u8>>>;

#[tokio::test]
async fn floods_close_their_connection_and_cost_bounded_work() {
    let resets = (0..50_000_u32).map(|number| {
        let stream = 2 * number + 1;
        let open = frame(HEADERS, END_HEADERS | 1, stream, GET);
        [open, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    let field = [b"\x00\x01x\x7f\xe1\x06".as_slice(), &[b'x'; 1000]].concat();
    let field = iter::once(frame(HEADERS, 0, 1, &field));
    let empty = iter::repeat_with(|| frame(CONTINUATION, 0, 1, &[])).take(100_000);
    let get = iter::once(frame(HEADERS, 0, 1, GET));
    let large = iter::repeat_with(|| frame(CONTINUATION, 0, 1, &[0x82; 8000])).take(10_000);
    let pings = iter::repeat_with(|| frame(PING, 0, 0, &[7; 8]).repeat(1000)).take(2_000);
    let setting = || frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(1000);
    let settings = iter::repeat_with(setting).take(2_000);
    let floods: [(&str, Pieces); 5] = [
        ("rapid resets", Box::new(resets)),
        ("empty continuations", Box::new(field.chain(empty))),
        ("large continuations", Box::new(get.chain(large))),
        ("pings", Box::new(pings)),
        ("settings", Box::new(settings)),
    ];
    for (what, pieces) in floods {
        println!("{what}");
        let (service, before) = running().await;
        let is_closed = flood(&service, pieces).await;
        assert!(is_closed, "{what}: the connection stays open");
        survived(&service, before).await;
    }
}

#[tokio::test]
async fn endless_empty_data_frames_end_the_connection() {
    let (service, before) = running().await;
    let mut client = begin(&service, &frame(HEADERS, END_HEADERS, 1, POST)).await;
    eventually("a handler that reads", async || {
        let active = service.metric("http_server_active_requests").await;
        (active > 0.5).then_some(())
    })
    .await;
    let nothing = frame(DATA, 0, 1, &[]).repeat(1000);
    let mut written = 0;
    while written < 500 && client.write(&nothing).await.is_ok() {
        written += 1;
    }
    assert!(written < 500, "the service closed the connection");
    client.closed().await.unwrap();
    let ended = service.event("request").await;
    assert_eq!(ended.field("route"), "/raw", "{ended}");
    assert_eq!(ended.field("status"), 400, "{ended}");
    survived(&service, before).await;
}
