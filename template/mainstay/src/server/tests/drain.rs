//! A drain answers requests, waits for nothing else, and names what it had to cut.

use tokio::time::Instant;

use super::*;

/// Runs a drain. Returns what it had to cut, and its duration.
async fn drain(listener: Listener, within: Duration) -> (Option<String>, Duration) {
    let began = Instant::now();
    let drained = timeout(PATIENCE * 2, listener.drain(Instant::now() + within)).await;
    let cut = drained.expect("a drain ends at its deadline");
    (cut, began.elapsed())
}

/// Begins a drain, and returns when it has begun.
async fn begin(
    listener: Listener,
    within: Duration,
) -> impl Future<Output = (Option<String>, Duration)> {
    let registry = Arc::clone(&listener.0);
    #[expect(clippy::disallowed_methods, reason = "awaited by the test")]
    let draining = tokio::spawn(drain(listener, within));
    timeout(PATIENCE, registry.draining.cancelled())
        .await
        .unwrap();
    async { draining.await.unwrap() }
}

#[tokio::test]
async fn drain_answers_a_request_that_is_on_its_way() {
    let listener = serve(&PATIENT);
    let mut client = Client::asks(&listener, "/quick").await;
    client.until("quick").await;
    let drained = begin(listener, PATIENCE).await;

    client.ask("/quick").await;

    let answer = client.rest().await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("quick"),
        "{answer}"
    );
    assert_eq!(drained.await.0, None);
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

    let (cut, _) = drain(listener, PATIENCE).await;

    assert_eq!(cut, None);
    for mut client in clients {
        client.until("quick").await;
    }
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn drain_cuts_counts_and_names_at_its_deadline() {
    let listener = serve(&PATIENT);
    let mut clients = [
        Client::asks(&listener, "/never").await,
        Client::asks(&listener, "/never").await,
        Client::asks(&listener, "/upgrade").await,
        Client::narrow(&listener).await,
        Client::connect(&listener).await,
    ];
    clients[3].ask("/big").await;
    clients[4]
        .write("POST /upload HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\nhalf")
        .await;
    until(&listener, |traffic| traffic.in_flight == 5).await;

    let (cut, took) = drain(listener, Duration::from_millis(300)).await;

    assert_eq!(
        cut.as_deref(),
        Some("5 http connections (/big; /never ×2; /upgrade; /upload)")
    );
    assert!(took < PATIENCE / 4, "took {took:?}");
    for client in &mut clients {
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, client.0.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the connection stays open");
    }
}

#[tokio::test]
async fn drain_ends_event_streams() {
    let listener = serve(&PATIENT);
    let mut client = Client::asks(&listener, "/events").await;
    client.until("data: one\n\n\r\n").await;

    let (cut, took) = drain(listener, PATIENCE).await;

    assert_eq!(client.rest().await, "0\r\n\r\n", "the last chunk");
    assert_eq!(cut, None);
    assert!(took < PATIENCE / 4, "took {took:?}");
}

#[tokio::test]
async fn drain_notifies_and_awaits_upgraded_connections() {
    let listener = serve(&PATIENT);
    let mut client = Client::asks(&listener, "/upgrade").await;
    client.until("hello").await;
    let drained = begin(listener.clone(), PATIENCE).await;

    client.until("goodbye").await;

    // It counts until its socket is closed.
    assert_eq!(listener.routes_in_flight(), ["/upgrade"]);
    drop(client);
    assert_eq!(drained.await.0, None);
}
