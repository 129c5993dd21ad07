//! Limits on clients while the service runs: no client holds a connection by sending nothing or half a request, or
//! by not reading.

use harness::eventually;
use harness::http::{self, Conversation, Http1};
use harness::service::Launch;

use crate::{faulty, running};

const SOON: &str = "300ms";
const NEVER: &str = "60s";

fn limited(header: &str, idle: &str, write: &str) -> Launch {
    faulty()
        .set("http.header_timeout", header)
        .set("http.idle_timeout", idle)
        .set("http.write_timeout", write)
}

#[tokio::test]
async fn late_head_is_408() {
    for http2 in [false, true] {
        let launch = limited(SOON, NEVER, NEVER).set("http.http2", http2);
        let service = running(launch).await;
        let address = service.http().await;
        let late = "GET /livez HTTP/1.1\r\nhost: ";
        let mut late = Conversation::begin(address, late).await.unwrap();
        let answer = late.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (408, ""), "{answer}");
        for said in [
            "",
            "G",
            "P",
            "PRI * HTTP/2.0\r\n",
            "GET /livez HTTP/1.1\r\nhost: here\r\n",
        ] {
            let mut client = Conversation::begin(address, said).await.unwrap();
            let left = client.closed().await;
            left.unwrap_or_else(|failure| panic!("http2 {http2}, {said:?}: {failure}"));
        }
        assert_eq!(http::get(address, "/livez").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn time_of_a_head_starts_at_its_first_byte() {
    let service = running(limited(SOON, NEVER, NEVER)).await;
    let address = service.http().await;
    let request = "GET /livez HTTP/1.1\r\nhost: here\r\n\r\n";
    let mut client = Conversation::begin(address, request).await.unwrap();
    client.answer().await.unwrap();

    // Longer than the time for a head: another connection is closed meanwhile.
    let mut silent = Conversation::open(address).await.unwrap();
    silent.closed().await.unwrap();

    client.write(request).await.unwrap();
    let answer = client.answer().await.unwrap();
    assert_eq!(
        answer.status, 200,
        "an idle connection has no header timeout"
    );
    client.write("GET /li").await.unwrap();
    client.closed().await.unwrap();
}

#[tokio::test]
async fn idle_connection_is_closed_in_time() {
    let service = running(limited(NEVER, SOON, NEVER)).await;
    let mut client = Http1::connect(service.http().await).await.unwrap();
    for _ in 0..3 {
        // Busy for longer than it may be idle.
        let answer = client.get("/slow?ms=900").await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
    }
    client.closed().await.unwrap();
    let closed = "http_listener_connections_closed_total{reason=\"idle\"}";
    eventually("the connection to be counted", async || {
        (service.metric(closed).await > 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn slow_responses_are_not_cut() {
    let service = running(limited("1s", "1s", "1s")).await;
    let address = service.http().await;
    let slow = http::get(address, "/slow?ms=2500");
    let pieces = http::get(address, "/stream?chunks=4&ms=1500");
    let (slow, pieces) = tokio::join!(slow, pieces);
    assert_eq!(slow.unwrap().text(), "done");
    assert_eq!(pieces.unwrap().text(), "0\n1\n2\n3\n");
}

#[tokio::test]
async fn late_response_is_504_and_keeps_the_connection() {
    let launch = faulty().set("http.request_timeout", "2100ms");
    let service = running(launch).await;
    let mut client = Http1::connect(service.http().await).await.unwrap();
    let answer = client.get("/never").await.unwrap();
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (504, &"timeout".into())
    );
    assert_eq!(client.get("/slow?ms=0").await.unwrap().status, 200);
}

#[tokio::test]
async fn at_the_connection_limit_probes_are_answered() {
    const LIMIT: usize = 4;
    let service = running(faulty().set("http.max_connections", LIMIT)).await;
    let address = service.http().await;
    let mut inside = Vec::new();
    for _ in 0..LIMIT {
        let mut client = Http1::connect(address).await.unwrap();
        assert_eq!(client.get("/livez").await.unwrap().status, 200);
        inside.push(client);
    }

    let said = "GET /slow?ms=0 HTTP/1.1\r\nhost: here\r\n\r\n";
    let mut next = Conversation::begin(address, said).await.unwrap();

    for path in ["/livez", "/readyz", "/startupz"] {
        for _ in 0..20 {
            let answer = service.ask(path).await;
            assert_eq!(answer.status, 200, "{path}: {answer}");
        }
    }
    let begun = service.log().events();
    assert!(
        !begun.iter().any(|event| event.message == "slow begun"),
        "the request did not wait for a permit"
    );
    drop(inside.pop());
    assert_eq!(next.answer().await.unwrap().status, 200);

    // A client that waits for a permit does not delay the stop.
    let mut waiting = Conversation::open(address).await.unwrap();
    let exit = service.stop().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(exit.took < crate::AT_ONCE, "took {:?}", exit.took);
    waiting.closed().await.unwrap();
}
