//! Long-lived connections: they end with the drain, each by the rules of its protocol.

use harness::http::Conversation;
use harness::service::Signal;

use crate::websocket::{Frame, WebSocket};
use crate::{AT_ONCE, clean, faulty, running};

#[tokio::test]
async fn event_stream_ends_in_order_at_the_drain() {
    let launch = faulty()
        .set("shutdown.delay", "4s")
        .set("shutdown.drain", "15s");
    let service = running(launch.set("shutdown.grace", "60s")).await;
    let said = "GET /events HTTP/1.1\r\nhost: here\r\n\r\n";
    let client = Conversation::begin(service.http().await, said).await;
    let mut client = client.unwrap();
    let head = client.head().await.unwrap();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    client.until("data: 1\n\n").await.unwrap();

    service.signal(Signal::TERM);
    service.event("draining").await;

    // It continues during the delay, and ends at its end.
    client.until("data: 20\n\n").await.unwrap();
    client.within(AT_ONCE).until("\r\n0\r\n\r\n").await.unwrap();
    let farewell = client.closed().await.unwrap();
    assert!(!farewell.by_force, "{farewell:?}");
    clean(&service.exit().await);
}

#[tokio::test]
async fn websocket_gets_1001_and_is_waited_for() {
    let service = running(faulty()).await;
    let mut client = WebSocket::open(service.http().await, "/ws").await.unwrap();
    client.say("hello").await.unwrap();
    assert_eq!(client.hear().await.unwrap(), Frame::Text("hello".into()));

    service.signal(Signal::TERM);

    assert_eq!(client.hear().await.unwrap(), Frame::Close(1001));
    client.say("last words").await.unwrap();
    let heard = service.event("heard after goodbye").await;
    assert_eq!(heard.field("text"), "last words");
    client.close(1001).await.unwrap();
    client.closed().await.unwrap();
    clean(&service.exit().await);
}

#[tokio::test]
async fn websocket_outlives_request_timeouts() {
    let launch = faulty()
        .set("http.request_timeout", "3s")
        .set("http.header_timeout", "300ms")
        .set("http.idle_timeout", "300ms")
        .set("http.write_timeout", "300ms");
    let service = running(launch).await;
    let http = service.http().await;
    let mut client = WebSocket::open(http, "/ws").await.unwrap();

    // Their timeouts close other connections meanwhile.
    for said in ["", "GET /livez HTTP/1.1\r\nhost: here\r\n\r\n"] {
        for _ in 0..2 {
            let mut other = Conversation::begin(http, said).await.unwrap();
            other.closed().await.unwrap();
        }
    }

    client.say("still here").await.unwrap();
    let heard = client.hear().await.unwrap();
    assert_eq!(heard, Frame::Text("still here".into()));
    client.close(1000).await.unwrap();
}
