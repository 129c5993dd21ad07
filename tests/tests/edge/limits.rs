//! Request heads that are too large or have too many headers, over each version of HTTP.

use std::net::SocketAddr;

use harness::http::{Conversation, Http2, Request};

use crate::heads::{assert_bare_status, is_refused_as};
use crate::{Before, assert_unaffected, faulty};

#[tokio::test]
async fn head_above_the_limit_gets_431() {
    for http2 in [false, true] {
        let launch = faulty()
            .set("http.http2", http2)
            .set("http.header_limit", "24KiB");
        let service = launch.ready().await;
        let before = Before::of(&service);
        refuses(service.http().await).await;
        assert_unaffected(&service, before).await;
    }
}

/// Heads above a limit of HTTP/1.
async fn refuses(address: SocketAddr) {
    let headers = |count| {
        let headers = (0..count).map(|number| format!("x-{number}: 1\r\n"));
        headers.collect::<Vec<_>>().concat()
    };
    for (what, head) in [
        (
            "one header above the limit",
            format!("x: {}\r\n", "x".repeat(40_000)),
        ),
        (
            "one header of 300 kB",
            format!("x: {}\r\n", "x".repeat(300_000)),
        ),
        ("10 000 headers", headers(10_000)),
        ("200 headers", headers(200)),
    ] {
        let request = format!("GET /slow?ms=0 HTTP/1.1\r\nhost: here\r\n{head}\r\n");
        let mut client = Conversation::open(address).await.unwrap();
        // The service may close the connection before it has read everything.
        _ = client.write(request).await;
        let answer = client.answer().await;
        let answer = answer.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert_bare_status(&answer, 431);
        client.closed().await.unwrap();
    }
    let long = async |length| {
        let request = format!("GET /{} HTTP/1.1\r\nhost: here\r\n\r\n", "x".repeat(length));
        let mut client = Conversation::open(address).await.unwrap();
        _ = client.write(request).await;
        client.answer().await.unwrap()
    };
    assert_bare_status(&long(1_000_000).await, 431);
    let answer = long(20_000).await;
    assert_eq!(answer.status, 414, "{answer}");
    is_refused_as(&answer, "uri_too_long");
}

#[tokio::test]
async fn head_above_the_limit_gets_431_over_http2() {
    let launch = faulty().set("http.http2", true);
    let service = launch.ready().await;
    let before = Before::of(&service);
    let client = Http2::connect(service.http().await).await.unwrap();
    let asked = |headers: Vec<(String, String)>| {
        let request = Request::get("/slow?ms=0");
        headers.into_iter().fold(request, |request, (name, value)| {
            request.header(&name, &value)
        })
    };
    let large = |size| vec![("x".to_owned(), "x".repeat(size))];
    let many = (0..2000).map(|number| (format!("x-{number}"), "1".to_owned()));
    for headers in [large(40_000), many.collect()] {
        let answer = client.send(asked(headers)).await.unwrap();
        assert_eq!(answer.status, 431, "{answer}");
        // Other streams of the connection are not affected.
        let next = client.get("/slow?ms=0").await.unwrap();
        assert_eq!(next.status, 200, "{next}");
    }
    let fits = client.send(asked(large(16_000))).await.unwrap();
    assert_eq!(fits.status, 200, "{fits}");

    // A head far beyond the limit closes the connection, as a flood does.
    client.send(asked(large(300_000))).await.unwrap_err();
    client.closed().await.unwrap_err();
    assert_unaffected(&service, before).await;
}
