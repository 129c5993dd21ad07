//! Bodies that are too large, malformed, late, or in tiny chunks.

use std::time::{Duration, Instant};

use harness::http::{self, Conversation, Http1, Request};
use tokio::task::JoinSet;

use crate::{GROWTH, assert_unaffected, faulty, ready, said};

#[tokio::test]
async fn body_above_the_limit_gets_413() {
    let (service, before) = ready(faulty().set("http.body_limit", "64KiB")).await;
    let address = service.http().await;
    for path in ["/upload", "/raw"] {
        let fits = Request::post(path).body(vec![b'x'; 64 * 1024]);
        let answer = http::send(address, fits).await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "65536"), "{path}");

        let head = format!("POST {path} HTTP/1.1\r\nhost: here\r\n");
        let declared = format!("{head}content-length: 65537\r\n\r\n");
        let answer = said(address, declared).await;
        assert_eq!(answer.status, 413, "{path}: {answer}");

        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
        let mut chunked = Conversation::begin(address, chunked).await.unwrap();
        let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
        // Far more than the limit.
        for _ in 0..10_000 {
            if chunked.write(&chunk).await.is_err() {
                break;
            }
        }
        let answer = chunked.answer().await;
        let answer = answer.unwrap_or_else(|failure| panic!("{path}: {failure}"));
        assert_eq!(answer.status, 413, "{path}: {answer}");
        assert_eq!(answer.json()["code"], "body_too_large", "{path}: {answer}");
    }
    assert_unaffected(&service, before).await;
}

#[tokio::test]
async fn gzip_bomb_gets_413() {
    let (service, before) = ready(faulty()).await;
    let address = service.http().await;
    // A gibibyte of zeros, compressed a thousandfold.
    let bomb = bomb(1 << 30);
    assert!(bomb.len() < 1 << 20, "the body limit: {}", bomb.len());
    for path in ["/upload", "/raw"] {
        let request = Request::post(path).header("content-encoding", "gzip");
        let answer = http::send(address, request.body(bomb.clone())).await;
        assert_eq!(answer.unwrap().status, 413, "{path}");
    }
    assert_unaffected(&service, before).await;
}

/// This many zeros, compressed.
fn bomb(size: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

/// hyper allocates a buffer for each chunk, about forty times the size of its one byte.
#[tokio::test]
async fn one_byte_chunks_cost_no_more_than_their_body() {
    const LENGTH: usize = 256 * 1024;
    const CLIENTS: usize = 4;
    // A debug build needs a while for this many chunks.
    let launch = faulty().set("http.request_timeout", "2m");
    let (service, before) = ready(launch).await;
    let address = service.http().await;
    let chunks = "1\r\nx\r\n".repeat(LENGTH);
    let requests = (0..CLIENTS).map(|_| {
        let head = "POST /upload HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n";
        let request = format!("{head}{chunks}0\r\n\r\n");
        async move {
            let mut client = Conversation::open(address).await.unwrap();
            client.within(Duration::from_mins(2));
            client.write(request).await.unwrap();
            client.answer().await.unwrap()
        }
    });
    for answer in requests.collect::<JoinSet<_>>().join_all().await {
        let length = LENGTH.to_string();
        assert_eq!((answer.status, answer.text()), (200, &*length), "{answer}");
    }
    let grown = service.peak_rss().saturating_sub(before.memory);
    println!("{CLIENTS} bodies of {LENGTH} bytes took {grown} bytes");
    assert!(grown < GROWTH, "memory has grown by {grown} bytes");
}

#[tokio::test]
async fn malformed_chunks_close_the_connection() {
    let (service, before) = ready(faulty()).await;
    let address = service.http().await;
    for chunk in [
        "zz\r\n",
        "-1\r\n",
        "ffffffffffffffffff\r\n",
        "2\r\nhixx0\r\n\r\n",
        &format!("2;{}\r\nhi\r\n0\r\n\r\n", "x".repeat(100_000)),
    ] {
        let mut client = Conversation::open(address).await.unwrap();
        let head = "POST /raw HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n";
        // The service may close before it has read all of this.
        _ = client.write(format!("{head}{chunk}")).await;
        let answer = client.answer().await;
        let answer = answer.unwrap_or_else(|failure| panic!("{chunk:.20?}: {failure}"));
        assert_eq!(answer.status, 400, "{chunk:.20?}: {answer}");
        client.closed().await.unwrap();
    }
    assert_unaffected(&service, before).await;
}

#[tokio::test]
async fn late_body_gets_408_at_the_request_timeout() {
    let launch = faulty()
        .set("http.request_timeout", "600ms")
        .set("database.acquire_timeout", "300ms")
        .set("http.max_wait", "100ms");
    let (service, before) = ready(launch).await;
    let address = service.http().await;
    let head = "PUT /api/log-filter HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let operators = Conversation::begin(service.operator().await, head).await;
    for path in ["/upload", "/raw"] {
        let began = Instant::now();
        let head = format!("POST {path} HTTP/1.1\r\nhost: here\r\ncontent-length: 1000\r\n\r\n");
        let mut client = Conversation::begin(address, head + "some").await.unwrap();
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 408, "{path}: {answer}");
        assert_eq!(answer.json()["code"], "request_timeout", "{path}: {answer}");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(600), "{path} took {took:?}");
        client.closed().await.unwrap();
    }
    // A late handler is an error of the server, and its connection stays.
    let mut client = Http1::connect(address).await.unwrap();
    assert_eq!(client.get("/never").await.unwrap().status, 504);
    assert_eq!(client.get("/slow?ms=0").await.unwrap().status, 200);
    let mut operators = operators.unwrap();
    let answer = operators.answer().await.unwrap();
    assert_eq!(answer.status, 408, "{answer}");
    operators.closed().await.unwrap();
    assert_unaffected(&service, before).await;
}
