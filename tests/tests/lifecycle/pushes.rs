//! Long-lived connections: they end with the drain, each by the rules of its protocol.

use harness::service::Signal;

use crate::websocket::{Frame, WebSocket};
use crate::{AT_ONCE, begin, clean, faulty};

#[tokio::test]
async fn event_stream_ends_in_order_at_the_drain() {
    let launch = faulty()
        .set("shutdown.delay", "4s")
        .set("shutdown.grace", "60s");
    let service = launch.ready().await;
    let mut client = begin(&service, "/events").await;
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
    let service = faulty().ready().await;
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
