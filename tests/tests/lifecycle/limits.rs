//! Limits on clients while the service runs: no client holds a connection by sending nothing or half a request, or
//! by not reading.

use std::time::Duration;

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
        let mut late = Conversation::open(address).await.unwrap();
        late.write("GET /livez HTTP/1.1\r\nhost: ").await.unwrap();
        let answer = late.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (408, ""), "{answer}");
        for said in [
            "",
            "G",
            "P",
            "PRI * HTTP/2.0\r\n",
            "GET /livez HTTP/1.1\r\nhost: here\r\n",
        ] {
            let mut client = Conversation::open(address).await.unwrap();
            client.write(said).await.unwrap();
            let left = client.closed().await;
            left.unwrap_or_else(|failure| panic!("http2 {http2}, {said:?}: {failure}"));
        }
        assert_eq!(http::get(address, "/livez").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn head_sent_byte_by_byte_is_late() {
    let service = running(limited(SOON, NEVER, NEVER)).await;
    let mut client = Conversation::open(service.http().await).await.unwrap();
    let head = format!("GET /livez HTTP/1.1\r\nhost: {}", "x".repeat(4000));
    for byte in head.as_bytes() {
        if client.write([*byte]).await.is_err() {
            return;
        }
        let pause = Duration::from_millis(20);
        if client.within(pause).closed().await.is_ok() {
            return;
        }
    }
    panic!("the connection was open for 80 seconds");
}

#[tokio::test]
async fn time_of_a_head_starts_at_its_first_byte() {
    let service = running(limited(SOON, NEVER, NEVER)).await;
    let address = service.http().await;
    let mut client = Conversation::open(address).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nhost: here\r\n\r\n";
    client.write(request).await.unwrap();
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
}

#[tokio::test]
async fn client_that_does_not_read_is_cut_in_time() {
    const SIZE: usize = 100_000_000;
    let service = running(limited(NEVER, NEVER, SOON)).await;
    let address = service.http().await;
    let mut client = Conversation::open_narrow(address, 4096).await.unwrap();
    client
        .write(format!(
            "GET /big?bytes={SIZE} HTTP/1.1\r\nhost: here\r\n\r\n"
        ))
        .await
        .unwrap();
    assert_eq!(client.head().await.unwrap().status, 200);

    eventually("its connection to be closed", async || {
        let state = service.ask("/api/state").await.json();
        (state["http"]["connections"] == 0).then_some(())
    })
    .await;

    let rest = client.closed().await.unwrap().rest.len();
    assert!(rest < SIZE, "the whole body arrived");
}

#[tokio::test]
async fn closed_connections_are_counted_by_reason() {
    let service = running(limited(SOON, SOON, SOON)).await;
    let address = service.http().await;
    let closed = async |reason| {
        let series = format!("http_listener_connections_closed_total{{reason=\"{reason}\"}}");
        service.metric(&series).await
    };
    for head in ["", "GET /livez HTTP/1.1\r\n"] {
        let mut late = Conversation::open(address).await.unwrap();
        late.write(head).await.unwrap();
        late.closed().await.unwrap();
    }
    let mut idle = Http1::connect(address).await.unwrap();
    assert_eq!(idle.get("/livez").await.unwrap().status, 200);
    idle.closed().await.unwrap();
    let mut deaf = Conversation::open_narrow(address, 4096).await.unwrap();
    let request = "GET /big?bytes=100000000 HTTP/1.1\r\nhost: here\r\n\r\n";
    deaf.write(request).await.unwrap();
    eventually("the slow reader to be closed", async || {
        (closed("slow_reader").await > 0.5).then_some(())
    })
    .await;
    let counted = (closed("late_head").await, closed("idle").await);
    assert_eq!(counted, (2.0, 1.0));
    assert!(closed("slow_reader").await < 1.5);
}

#[tokio::test]
async fn slow_responses_and_slow_readers_are_not_cut() {
    let launch = limited("1s", "1s", "1s");
    let service = running(launch).await;
    let address = service.http().await;
    let slow = http::get(address, "/slow?ms=2500");
    let pieces = http::get(address, "/stream?chunks=4&ms=1500");
    let reading = async {
        let mut client = Conversation::open(address).await.unwrap();
        client
            .write("GET /big?bytes=20000000 HTTP/1.1\r\nhost: here\r\n\r\n")
            .await
            .unwrap();
        client.head().await.unwrap();
        for _ in 0..40 {
            client.exactly(400_000).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (slow, pieces, ()) = tokio::join!(slow, pieces, reading);
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

    let mut next = Conversation::open(address).await.unwrap();
    next.write("GET /slow?ms=0 HTTP/1.1\r\nhost: here\r\n\r\n")
        .await
        .unwrap();

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
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn stop_at_the_connection_limit_does_not_wait() {
    let launch = faulty()
        .set("http.max_connections", 1)
        .set("shutdown.drain", "10s");
    let service = running(launch).await;
    let address = service.http().await;
    let mut inside = Http1::connect(address).await.unwrap();
    inside.get("/livez").await.unwrap();
    let mut next = Conversation::open(address).await.unwrap();

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(exit.took < crate::AT_ONCE, "took {:?}", exit.took);
    next.closed().await.unwrap();
}

#[tokio::test]
async fn head_over_the_limit_gets_a_431() {
    let service = running(faulty().set("http.header_limit", "16KiB")).await;
    for size in [17_000, 300_000] {
        let mut client = Conversation::open(service.http().await).await.unwrap();
        let large = "x".repeat(size);
        let head = format!("GET /livez HTTP/1.1\r\nhost: here\r\nx-large: {large}\r\n\r\n");
        // The service may refuse it before the client has sent everything.
        _ = client.write(head).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 431, "{size}: {answer}");
    }
}

#[tokio::test]
async fn panic_of_a_handler_costs_one_response() {
    let service = running(faulty()).await;
    let mut client = Http1::connect(service.http().await).await.unwrap();
    assert_eq!(client.get("/panic").await.unwrap().status, 500);
    assert_eq!(client.get("/slow?ms=0").await.unwrap().status, 200);
    assert_eq!(service.stop().await.code, Some(0));
}
