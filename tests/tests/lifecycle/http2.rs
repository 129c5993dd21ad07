//! HTTP/2, where it is enabled: streams finish after GOAWAY, and connections without streams close.

use harness::http::{Conversation, Http1, Http2};
use harness::service::{Launch, Signal};

use crate::{AT_ONCE, abandoned, clean, faulty, running};

fn both() -> Launch {
    faulty().set("http.http2", true)
}

#[tokio::test]
async fn stream_completes_after_goaway() {
    let service = running(both()).await;
    let client = Http2::connect(service.http().await).await.unwrap();
    let asked = client.clone();
    let request = tokio::spawn(async move { asked.get("/slow?ms=1500").await });
    service.event("slow begun").await;

    service.signal(Signal::TERM);

    let answer = request.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.text()), (200, "done"), "{answer}");
    client.closed().await.unwrap();
    clean(&service.exit().await);
}

#[tokio::test]
async fn drain_closes_http2_connections_without_streams() {
    let service = running(both()).await;
    let client = Http2::connect(service.http().await).await.unwrap();
    assert_eq!(client.get("/livez").await.unwrap().status, 200);

    service.signal(Signal::TERM);

    client.closed().await.unwrap();
    let exit = service.exit().await;
    clean(&exit);
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
}

#[tokio::test]
async fn drain_cuts_and_names_an_endless_http2_stream() {
    let service = running(both().set("shutdown.drain", "1s")).await;
    let client = Http2::connect(service.http().await).await.unwrap();
    let asked = client.clone();
    let request = tokio::spawn(async move { asked.get("/never").await });
    service.event("never begun").await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(3), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
    assert!(abandoned(&exit).contains("/never"), "{exit}");
    request.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn one_port_serves_both_versions() {
    let service = running(both()).await;
    let http = service.http().await;
    let mut first = Http1::connect(http).await.unwrap();
    let second = Http2::connect(http).await.unwrap();
    assert_eq!(first.get("/livez").await.unwrap().status, 200);
    assert_eq!(second.get("/livez").await.unwrap().status, 200);
}

#[tokio::test]
async fn http2_is_refused_unless_enabled() {
    let service = running(faulty()).await;
    let mut client = Conversation::open(service.http().await).await.unwrap();
    client
        .write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let farewell = client.closed().await.unwrap();
    let said = String::from_utf8_lossy(&farewell.rest);
    // Closed, with or without an HTTP/1 response.
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 400 "),
        "{said}"
    );
}

#[tokio::test]
async fn http2_connection_may_be_idle_before_its_first_request() {
    let launch = both()
        .set("http.header_timeout", "300ms")
        .set("http.idle_timeout", "2s");
    let service = running(launch).await;
    let client = Http2::connect(service.http().await).await.unwrap();
    // Longer than the time for a head: another connection is closed meanwhile.
    let mut silent = Conversation::open(service.http().await).await.unwrap();
    silent.closed().await.unwrap();

    assert_eq!(client.get("/livez").await.unwrap().status, 200);
    client.closed().await.unwrap();
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn idle_http2_connection_is_closed_in_time() {
    let service = running(both().set("http.idle_timeout", "300ms")).await;
    let client = Http2::connect(service.http().await).await.unwrap();
    assert_eq!(client.get("/slow?ms=900").await.unwrap().status, 200);
    client.closed().await.unwrap();
    assert_eq!(service.stop().await.code, Some(0));
}
