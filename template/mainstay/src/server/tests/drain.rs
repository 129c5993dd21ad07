//! A drain answers requests, and waits for nothing else.

use tokio::time::Instant;

use super::*;

/// Begins a drain, and returns when it has begun. The future has what was cut.
async fn begin(listener: Listener) -> impl Future<Output = Option<String>> {
    let registry = Arc::clone(&listener.0);
    #[expect(clippy::disallowed_methods, reason = "awaited by the test")]
    let draining = tokio::spawn(async move { listener.drain(Instant::now() + PATIENCE).await });
    let begun = timeout(PATIENCE, registry.draining.cancelled());
    begun.await.unwrap();
    async { draining.await.unwrap() }
}

#[tokio::test]
async fn drain_answers_a_request_that_is_on_its_way() {
    let listener = serve(&PATIENT);
    let mut client = Client::asks(&listener, "/quick").await;
    client.until("quick").await;
    let drained = begin(listener).await;

    client.ask("/quick").await;

    let answer = client.rest().await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("quick"), "{answer}");
    assert_eq!(drained.await, None);
}

#[tokio::test]
async fn drain_serves_earlier_connections_and_refuses_later_ones() {
    let limits = Limits {
        max_connections: 100,
        ..PATIENT
    };
    let listener = serve(&limits);
    let address = listener.address();
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(Client::asks(&listener, "/quick").await);
    }

    let cut = listener.drain(Instant::now() + PATIENCE).await;

    assert_eq!(cut, None);
    for mut client in clients {
        client.until("quick").await;
    }
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn drain_ends_event_streams() {
    let listener = serve(&PATIENT);
    let mut client = Client::asks(&listener, "/events").await;
    client.until("data: one\n\n\r\n").await;

    let cut = listener.drain(Instant::now() + PATIENCE).await;

    assert_eq!(client.rest().await, "0\r\n\r\n", "the last chunk");
    assert_eq!(cut, None);
}

#[tokio::test]
async fn drain_notifies_and_awaits_upgraded_connections() {
    let listener = serve(&PATIENT);
    let mut client = Client::asks(&listener, "/upgrade").await;
    client.until("hello").await;
    let drained = begin(listener.clone()).await;

    client.until("goodbye").await;

    // It counts until its socket is closed.
    assert_eq!(listener.routes_in_flight(), ["/upgrade"]);
    drop(client);
    assert_eq!(drained.await, None);
}
