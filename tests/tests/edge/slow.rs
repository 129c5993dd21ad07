//! Crowds of clients that send nothing, send slowly, or do not read: each is closed at its timeout
//! and releases all its resources.

use harness::eventually;
use harness::http::Conversation;
use harness::service::{Launch, Service};

use crate::{assert_unaffected, faulty, ready};

const CLIENTS: usize = 200;

/// Shortens one timeout. It is long enough for all clients to be connected at once.
fn impatient(timeout: &str) -> Launch {
    faulty().set(timeout, "2s")
}

/// Connects all clients. Each sends these bytes.
async fn crowd(service: &Service, said: &str) -> Vec<Conversation> {
    let address = service.http().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Conversation::open_narrow(address, 4096).await.unwrap();
        client.write(said).await.unwrap();
        clients.push(client);
    }
    clients
}

/// Waits until all clients were closed for this reason.
async fn wait_until_closed(service: &Service, reason: &str) {
    let closed = format!("http_listener_connections_closed_total{{reason=\"{reason}\"}}");
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    let all = CLIENTS as f64;
    eventually("all connections to be closed", async || {
        let closed = service.metric(&closed).await;
        let open = service.metric("http_listener_connections").await;
        ((closed, open) == (all, 0.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn silent_clients_are_closed_and_leave_nothing() {
    let greeting = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let half = "GET /slow?ms=0 HTTP/1.1\r\nhost: he";
    // Together, they request 20 GB, and read nothing.
    let unread = "GET /big?bytes=100000000 HTTP/1.1\r\nhost: here\r\n\r\n";
    for (http2, said, timeout, reason) in [
        (false, "", "http.header_timeout", "late_head"),
        (false, half, "http.header_timeout", "late_head"),
        (false, unread, "http.write_timeout", "slow_reader"),
        (true, "", "http.header_timeout", "late_head"),
        (true, half, "http.header_timeout", "late_head"),
        (true, greeting, "http.idle_timeout", "idle"),
        (true, unread, "http.write_timeout", "slow_reader"),
    ] {
        println!("{said:?}, http2 {http2}");
        let (service, before) = ready(impatient(timeout).set("http.http2", http2)).await;
        let clients = crowd(&service, said).await;
        wait_until_closed(&service, reason).await;
        drop(clients);
        assert_unaffected(&service, before).await;
    }
}

#[tokio::test]
async fn clients_that_trickle_heads_are_closed() {
    let (service, before) = ready(impatient("http.header_timeout")).await;
    let mut clients = crowd(&service, "GET /slow?ms=0 HTTP/1.1\r\nx: ").await;
    // Each writes until it is closed.
    while !clients.is_empty() {
        let mut left = Vec::new();
        for mut client in clients {
            if !client.is_over() && client.write("x").await.is_ok() {
                left.push(client);
            }
        }
        clients = left;
        tokio::task::yield_now().await;
    }
    wait_until_closed(&service, "late_head").await;
    assert_unaffected(&service, before).await;
}
