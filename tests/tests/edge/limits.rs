//! Request heads that are too large or have too many headers, over each version of HTTP.

use harness::http::{Conversation, Http2, Request};

use crate::heads::{assert_bare_status, is_refused_as};
use crate::{assert_unaffected, faulty, ready};

#[tokio::test]
async fn head_above_the_limit_gets_431() {
    let path = |length| format!("/{}", "x".repeat(length));
    let header = |length| format!("x: {}\r\n", "x".repeat(length));
    let headers = |count| {
        let headers = (0..count).map(|number| format!("x-{number}: 1\r\n"));
        headers.collect::<Vec<_>>().concat()
    };
    for http2 in [false, true] {
        let launch = faulty()
            .set("http.http2", http2)
            .set("http.header_limit", "24KiB");
        let (service, before) = ready(launch).await;
        for (path, headers, status) in [
            (path(9), header(40_000), 431),
            (path(9), header(300_000), 431),
            (path(9), headers(200), 431),
            (path(9), headers(10_000), 431),
            (path(1_000_000), header(9), 431),
            (path(20_000), header(9), 414),
        ] {
            let what = format!("{path:.20} {headers:.20} {}", headers.len());
            let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\n{headers}\r\n");
            let mut client = Conversation::open(service.http().await).await.unwrap();
            // The service may close the connection before it has read everything.
            _ = client.write(request).await;
            let answer = client.answer().await;
            let answer = answer.unwrap_or_else(|failure| panic!("{what}: {failure}"));
            assert_eq!(answer.status, status, "{what}: {answer}");
            if status == 414 {
                is_refused_as(&answer, "uri_too_long");
            } else {
                assert_bare_status(&answer, status);
                client.closed().await.unwrap();
            }
        }
        assert_unaffected(&service, before).await;
    }
}

#[tokio::test]
async fn head_above_the_limit_gets_431_over_http2() {
    let launch = faulty().set("http.http2", true);
    let (service, before) = ready(launch).await;
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
