//! HTTP/2, where it is enabled: streams finish after GOAWAY, and connections without streams close.

use harness::http::{Conversation, Http2};
use harness::service::{Launch, Signal};

use crate::{clean, faulty, running};

fn both() -> Launch {
    faulty().set("http.http2", true)
}

#[tokio::test]
async fn stream_completes_after_goaway() {
    let service = running(both()).await;
    let idle = Http2::connect(service.http().await).await.unwrap();
    assert_eq!(idle.get("/livez").await.unwrap().status, 200);
    let client = Http2::connect(service.http().await).await.unwrap();
    let asked = client.clone();
    let request = tokio::spawn(async move { asked.get("/slow?ms=4000").await });
    service.event("slow begun").await;

    service.signal(Signal::TERM);

    idle.closed().await.unwrap();
    assert!(
        !request.is_finished(),
        "a connection without streams waited"
    );
    let answer = request.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.text()), (200, "done"), "{answer}");
    client.closed().await.unwrap();
    clean(&service.exit().await);
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

    // Busy for longer than it may be idle.
    assert_eq!(client.get("/slow?ms=2500").await.unwrap().status, 200);
    client.closed().await.unwrap();
    assert_eq!(service.stop().await.code, Some(0));
}
