//! The proxy simulates network failures.

use std::time::{Duration, Instant};

use harness::proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// Both ends of a connection through the proxy.
async fn connected(proxy: &Proxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    // After it has forwarded data, the proxy counts the connection.
    client.write_all(b"hello").await.unwrap();
    arrives(&mut server, b"hello").await;
    (client, server)
}

async fn arrives(to: &mut TcpStream, what: &[u8]) {
    let mut got = vec![0; what.len()];
    timeout(PATIENCE, to.read_exact(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, what);
}

async fn proxied() -> (Proxy, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(server.local_addr().unwrap()).await.unwrap();
    (proxy, server)
}

#[tokio::test]
async fn proxy_forwards_both_ways_and_the_end() {
    let (proxy, server) = proxied().await;
    let (mut client, mut server) = connected(&proxy, &server).await;
    client.write_all(b"question").await.unwrap();
    arrives(&mut server, b"question").await;
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    server.write_all(b"answer").await.unwrap();
    arrives(&mut client, b"answer").await;
    drop(server);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn black_hole_holds_bytes_until_it_is_healed() {
    let (proxy, listener) = proxied().await;
    let (mut client, mut server) = connected(&proxy, &listener).await;
    proxy.black_hole();
    client.write_all(b"lost").await.unwrap();
    server.write_all(b"as well").await.unwrap();
    server.shutdown().await.unwrap();
    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    late.write_all(b"too").await.unwrap();
    for stream in [&mut client, &mut server, &mut late] {
        let nothing = timeout(Duration::from_millis(100), stream.read(&mut [0])).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }

    proxy.heal();

    arrives(&mut server, b"lost").await;
    arrives(&mut client, b"as well").await;
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let (mut server, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    arrives(&mut server, b"too").await;
}

#[tokio::test]
async fn cut_breaks_open_connections_only() {
    let (proxy, listener) = proxied().await;
    for dead in [false, true] {
        let (mut client, mut server) = connected(&proxy, &listener).await;
        if dead {
            proxy.black_hole();
        }
        // Either forwarded or still in transit.
        client.write_all(b"x").await.unwrap();
        if !dead {
            arrives(&mut server, b"x").await;
        }
        proxy.cut();
        for stream in [&mut client, &mut server] {
            let end = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
            assert!(end.is_err(), "{end:?}");
        }
        proxy.heal();
    }
    let (mut client, mut server) = connected(&proxy, &listener).await;
    client.write_all(b"later").await.unwrap();
    arrives(&mut server, b"later").await;
}

#[tokio::test]
async fn delay_applies_both_ways() {
    let (proxy, listener) = proxied().await;
    let (mut client, mut server) = connected(&proxy, &listener).await;
    let delay = Duration::from_millis(100);
    proxy.delay(delay);
    let began = Instant::now();
    client.write_all(b"there").await.unwrap();
    arrives(&mut server, b"there").await;
    server.write_all(b"back").await.unwrap();
    arrives(&mut client, b"back").await;
    assert!(began.elapsed() >= delay * 2, "{:?}", began.elapsed());
}
