//! Limits on connections while the service runs.

use harness::eventually;
use harness::http::{self, Conversation, Http1, Http2};
use harness::service::Launch;

use crate::websocket::{Frame, WebSocket};
use crate::{AT_ONCE, assert_probes_pass, begin, faulty};

const SOON: &str = "300ms";
const NEVER: &str = "60s";

fn limited(header: &str, idle: &str, write: &str) -> Launch {
    faulty()
        .set("http.header_timeout", header)
        .set("http.idle_timeout", idle)
        .set("http.write_timeout", write)
}

#[tokio::test]
async fn time_of_a_head_starts_at_its_first_byte() {
    let service = limited(SOON, NEVER, NEVER).ready().await;
    let address = service.http().await;
    let request = "GET /livez HTTP/1.1\r\nhost: here\r\n\r\n";
    let mut client = Conversation::begin(address, request).await.unwrap();
    client.answer().await.unwrap();

    // Longer than the time for a head: another connection is closed meanwhile.
    let mut silent = Conversation::open(address).await.unwrap();
    silent.closed().await.unwrap();

    client.write(request).await.unwrap();
    assert_eq!(client.answer().await.unwrap().status, 200);
    client.write("GET /li").await.unwrap();
    client.closed().await.unwrap();
}

#[tokio::test]
async fn idle_connection_is_closed_in_time() {
    for http2 in [false, true] {
        // Long enough that a busy machine sends the next request before it is over.
        let launch = limited(NEVER, "1s", NEVER).set("http.http2", http2);
        let service = launch.ready().await;
        let address = service.http().await;
        // A request may take longer than a connection may be idle.
        if http2 {
            let client = Http2::connect(address).await.unwrap();
            assert_eq!(client.get("/slow?ms=2500").await.unwrap().status, 200);
            client.closed().await.unwrap();
        } else {
            let mut client = Http1::connect(address).await.unwrap();
            for _ in 0..2 {
                assert_eq!(client.get("/slow?ms=2500").await.unwrap().status, 200);
            }
            client.closed().await.unwrap();
        }
        let closed = "http_listener_connections_closed_total{reason=\"idle\"}";
        eventually("the connection to be counted", async || {
            (service.metric(closed).await > 0.5).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn slow_responses_and_websockets_are_not_cut() {
    let launch = limited("1s", "1s", "1s").set("http.request_timeout", "4s");
    let service = launch.ready().await;
    let address = service.http().await;
    let mut socket = WebSocket::open(address, "/ws").await.unwrap();
    let slow = http::get(address, "/slow?ms=2500");
    let pieces = http::get(address, "/stream?chunks=4&ms=1500");
    let (slow, pieces) = tokio::join!(slow, pieces);
    assert_eq!(slow.unwrap().text(), "done");
    assert_eq!(pieces.unwrap().text(), "0\n1\n2\n3\n");
    // By now, all of these times are over for the WebSocket.
    socket.say("still here").await.unwrap();
    assert_eq!(
        socket.hear().await.unwrap(),
        Frame::Text("still here".into())
    );
}

#[tokio::test]
async fn at_the_connection_limit_probes_are_answered() {
    const LIMIT: usize = 4;
    let service = faulty().set("http.max_connections", LIMIT).ready().await;
    let address = service.http().await;
    let mut inside = Vec::new();
    for _ in 0..LIMIT {
        let mut client = Http1::connect(address).await.unwrap();
        assert_eq!(client.get("/livez").await.unwrap().status, 200);
        inside.push(client);
    }

    let mut next = begin(&service, "/slow?ms=0").await;

    // This takes longer than the request would take.
    for _ in 0..20 {
        assert_probes_pass(&service).await;
    }
    let mut begun = service.log().events().into_iter();
    assert!(begun.all(|event| event.message != "slow begun"));
    drop(inside.pop());
    assert_eq!(next.answer().await.unwrap().status, 200);

    // A client that waits for a permit does not delay the stop.
    let mut waiting = Conversation::open(address).await.unwrap();
    let exit = service.stop().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
    waiting.closed().await.unwrap();
}
