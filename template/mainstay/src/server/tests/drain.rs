//! A drain answers what it was asked, waits for nobody else, and names what it had to cut.

use tokio::time::Instant;

use super::*;

/// Runs a drain to its end: what it had to cut, and how long it took.
async fn drain(listener: Listener, within: Duration) -> (Option<String>, Duration) {
    let began = Instant::now();
    let drained = timeout(PATIENCE * 2, listener.drain(Instant::now() + within)).await;
    let cut = drained.expect("a drain ends at its deadline");
    (cut.map(|cut| cut.to_string()), began.elapsed())
}

/// Begins a drain, and comes back when it has begun.
async fn begin(
    listener: Listener,
    within: Duration,
) -> impl Future<Output = (Option<String>, Duration)> {
    let registry = Arc::clone(&listener.registry);
    #[expect(clippy::disallowed_methods, reason = "awaited by the test")]
    let draining = tokio::spawn(drain(listener, within));
    timeout(PATIENCE, registry.shared().draining().cancelled())
        .await
        .unwrap();
    async { draining.await.unwrap() }
}

#[tokio::test]
async fn a_request_in_flight_is_answered_and_its_connection_closed() {
    let gate = Gate::default();
    let listener = serve(&PATIENT, &gate);
    let mut client = Client::asks(&listener, "/gated").await;
    until(&listener, |traffic| traffic.in_flight == 1).await;
    let drained = begin(listener, PATIENCE).await;

    gate.notify_one();

    let answer = client.rest().await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("gated"),
        "{answer}"
    );
    assert_eq!(drained.await.0, None);
}

#[tokio::test]
async fn whoever_is_idle_or_half_way_through_a_head_is_not_waited_for() {
    let limits = Limits {
        http2: true,
        ..PATIENT
    };
    let listener = serve(&limits, &Gate::default());
    let mut idle = Client::asks(&listener, "/quick").await;
    idle.until("quick").await;
    let mut others = vec![idle];
    for said in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nhost: he"] {
        let mut client = Client::connect(&listener).await;
        client.write(said).await;
        others.push(client);
    }
    until(&listener, |traffic| traffic.connections == 5).await;

    let (cut, took) = drain(listener, PATIENCE).await;

    assert_eq!(cut, None);
    assert!(took < PATIENCE / 4, "took {took:?}");
    for mut client in others {
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test]
async fn drain_answers_a_request_that_is_on_its_way() {
    let listener = serve(&PATIENT, &Gate::default());
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
    let listener = serve(&limits, &Gate::default());
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
async fn what_is_not_over_at_the_deadline_is_cut_counted_and_named() {
    let listener = serve(&PATIENT, &Gate::default());
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
async fn an_event_stream_ends_when_the_drain_begins() {
    let listener = serve(&PATIENT, &Gate::default());
    let mut client = Client::asks(&listener, "/events").await;
    client.until("data: one\n\n\r\n").await;

    let (cut, took) = drain(listener, PATIENCE).await;

    assert_eq!(
        client.rest().await,
        "0\r\n\r\n",
        "a good end, and not a broken one"
    );
    assert_eq!(cut, None);
    assert!(took < PATIENCE / 4, "took {took:?}");
}

#[tokio::test]
async fn an_event_stream_that_nobody_reads_is_not_waited_for() {
    for http2 in [false, true] {
        let limits = Limits { http2, ..PATIENT };
        let listener = serve(&limits, &Gate::default());
        let mut client = Client::narrow(&listener).await;
        client.ask("/flood").await;
        client.until("data: one\n").await;

        let (cut, took) = drain(listener, PATIENCE).await;

        assert_eq!(cut, None);
        assert!(took < PATIENCE / 4, "took {took:?}");
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_told_and_waited_for() {
    let gate = Gate::default();
    let listener = serve(&PATIENT, &gate);
    let mut client = Client::asks(&listener, "/upgrade").await;
    client.until("hello").await;
    let watch = listener.watch();
    let drained = begin(listener, PATIENCE).await;

    client.until("goodbye").await;

    assert_eq!(
        watch.busy(),
        ["/upgrade"],
        "it counts until its socket is closed"
    );
    drop(client);
    assert_eq!(drained.await.0, None);
}

#[tokio::test]
async fn every_answer_closes_its_connection_once_a_stop_is_announced() {
    let listener = serve(&PATIENT, &Gate::default());
    let mut client = Client::asks(&listener, "/quick").await;
    assert!(!client.until("quick").await.contains("connection: close"));

    listener.announce_close();

    client.ask("/quick").await;
    let answer = client.rest().await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("quick"),
        "{answer}"
    );
    // New ones come in all the same.
    let mut client = Client::asks(&listener, "/quick").await;
    assert!(client.rest().await.contains("connection: close"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn before_it_closes_it_admits_who_had_come_and_nobody_else() {
    use super::super::socket::admit_no_more;
    use tokio::net::TcpListener;

    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let early = TcpStream::connect(address).await.unwrap();

    admit_no_more(&socket).unwrap();

    // Connected, it would be there at once; unheard, it asks again after a second.
    let late = timeout(Duration::from_millis(200), TcpStream::connect(address)).await;
    assert!(late.is_err(), "{late:?}");
    let (_, peer) = timeout(PATIENCE, socket.accept()).await.unwrap().unwrap();
    assert_eq!(peer, early.local_addr().unwrap());
}
