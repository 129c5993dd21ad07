//! Request heads that are contradictory or malformed.

use harness::http::{Answer, Conversation};

use crate::{assert_unaffected, faulty, ready, said};

/// The security headers of every response, as OWASP recommends.
const ALWAYS: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
];

/// Asserts a problem response with a request id.
pub(crate) fn is_refused_as(answer: &Answer, code: &str) {
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/problem+json"), "{answer}");
    assert_eq!(answer.json()["code"], code, "{answer}");
    let id = answer.header("x-request-id").expect("an id");
    assert_eq!(answer.json()["request_id"], id, "{answer}");
}

/// Asserts a response without body and headers. hyper sends it for invalid HTTP, and the server for
/// a head that times out.
#[track_caller]
pub(crate) fn assert_bare_status(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.text()), (status, ""), "{answer}");
    assert_eq!(answer.header("content-length"), Some("0"), "{answer}");
    assert_eq!(answer.header("server"), None, "{answer}");
}

#[tokio::test]
async fn every_answer_has_an_id_and_the_security_headers() {
    let service = faulty().ready().await;
    let (public, operators) = (service.http().await, service.operator().await);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    for (address, request, status) in [
        (public, get("/slow?ms=0"), 200),
        (public, get("/livez"), 200),
        (public, get("/readyz?verbose"), 200),
        (public, get("/openapi.json"), 200),
        (public, get("/nothing"), 404),
        (public, get("/upload"), 405),
        (public, get("/panic"), 500),
        (public, "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (public, get(&format!("/{}", "x".repeat(20_000))), 414),
        (operators, get("/livez"), 200),
        (operators, get("/metrics"), 200),
        (operators, get("/api/state"), 200),
        (operators, get("/nothing"), 404),
    ] {
        let what = format!("{request:.40}");
        let answer = said(address, &request).await;
        assert_eq!(answer.status, status, "{what}: {answer}");
        for (name, value) in ALWAYS {
            // The files of the documentation set these themselves.
            let is_own = ["cache-control", "content-security-policy"].contains(&name);
            if !is_own || !request.contains("/openapi.json") {
                assert_eq!(answer.header(name), Some(value), "{what}: {name}");
            }
        }
        assert!(answer.header("x-request-id").is_some(), "{what}: {answer}");
        assert_eq!(answer.header("server"), None, "{what}: {answer}");
    }
}

#[tokio::test]
async fn ambiguous_length_is_refused_and_closes_the_connection() {
    let (service, before) = ready(faulty()).await;
    let address = service.http().await;
    let smuggled = "GET /slow?ms=0 HTTP/1.1\r\nhost: here\r\n\r\n";
    for head in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: -1\r\n",
        "content-length: +5\r\n",
        "content-length: 5 5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        " folded: header\r\n",
        "bad header\r\n",
        "x: nul\0\r\n",
    ] {
        let request =
            format!("POST /upload HTTP/1.1\r\nhost: here\r\n{head}\r\n0\r\n\r\n{smuggled}");
        let mut client = Conversation::begin(address, request).await.unwrap();
        let answer = client.answer().await;
        let answer = answer.unwrap_or_else(|failure| panic!("{head:?}: {failure}"));
        assert_bare_status(&answer, 400);
        let rest = client.closed().await.unwrap().rest;
        assert_eq!(String::from_utf8_lossy(&rest), "", "{head:?}");
    }
    assert_unaffected(&service, before).await;
}

#[tokio::test]
async fn transfer_encoding_overrides_content_length_and_closes() {
    let (service, before) = ready(faulty()).await;
    let address = service.http().await;
    // RFC 9112, 6.1: the body is read as chunked, and the connection closed after it.
    let request = "POST /upload HTTP/1.1\r\nhost: here\r\ncontent-length: 3\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
         GET /slow?ms=0 HTTP/1.1\r\nhost: here\r\n\r\n";
    let mut client = Conversation::begin(address, request).await.unwrap();
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "2"), "{answer}");
    let rest = client.closed().await.unwrap().rest;
    assert_eq!(String::from_utf8_lossy(&rest), "");
    assert_unaffected(&service, before).await;
}

#[tokio::test]
async fn probes_and_operator_need_exactly_one_host() {
    let (service, before) = ready(faulty()).await;
    let (public, operators) = (service.http().await, service.operator().await);
    let one = "host: localhost\r\n";
    let two = "host: localhost\r\nhost: 127.0.0.1\r\n";
    for (address, path, status) in [
        (public, "/slow?ms=0", 200),
        (public, "/livez", 200),
        (public, "/readyz", 200),
        (operators, "/livez", 200),
        (operators, "/startupz", 200),
        (operators, "/metrics", 200),
        (operators, "/api/state", 200),
        (operators, "/nothing", 404),
    ] {
        for (origin, version, hosts, status) in [
            ("", "1.1", "", 400),
            ("", "1.1", two, 400),
            ("http://127.0.0.1", "1.1", one, 400),
            ("http://localhost", "1.1", one, status),
            ("", "1.1", one, status),
            ("", "1.0", "", status),
        ] {
            let request = format!("GET {origin}{path} HTTP/{version}\r\n{hosts}\r\n");
            let answer = said(address, &request).await;
            assert_eq!(answer.status, status, "{request}: {answer}");
            if status == 400 {
                is_refused_as(&answer, "bad_request");
            }
        }
    }
    assert_unaffected(&service, before).await;
}

#[tokio::test]
async fn operator_listener_answers_with_problems() {
    let service = faulty().ready().await;
    let address = service.operator().await;
    let ask = async |request: &str, head: &str, status, code| {
        let request = format!("{request} HTTP/1.1\r\n{head}\r\n");
        let answer = said(address, &request).await;
        assert_eq!(answer.status, status, "{request}: {answer}");
        is_refused_as(&answer, code);
        let options = answer.header("x-content-type-options");
        assert_eq!(options, Some("nosniff"), "{answer}");
        answer
    };
    let here = "host: localhost\r\n";
    ask("GET /nothing", here, 404, "not_found").await;
    ask("POST /api/tasks/none/pause", here, 404, "not_found").await;
    ask("DELETE /metrics", here, 405, "method_not_allowed").await;
    ask("GET /api/state", "host: elsewhere\r\n", 421, "misdirected").await;
    for kind in [
        "",
        "content-type: multipart/form-data; boundary=x\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
    ] {
        let (head, code) = (format!("{here}{kind}"), "unsupported_media_type");
        let answer = ask("PUT /api/log-filter", &head, 415, code).await;
        let fault = &answer.json()["errors"][0];
        assert_eq!(fault["detail"], "must be application/json", "{answer}");
    }
}

#[tokio::test]
async fn panic_is_logged_with_the_request_id() {
    let service = faulty().ready().await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n");
    let client = Conversation::begin(service.http().await, request("/panic")).await;
    let mut client = client.unwrap();
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 500, "{answer}");
    let event = service.event("panicked").await;
    let id = &answer.json()["request_id"];
    assert_eq!(event.field("request_id"), id, "{event}");
    // It costs one response.
    client.write(request("/slow?ms=0")).await.unwrap();
    assert_eq!(client.answer().await.unwrap().status, 200);
}

#[tokio::test]
async fn log_has_the_forwarded_client_unless_disabled() {
    for (trusted, log_client, client) in [
        ("127.0.0.0/8", true, Some("203.0.113.9")),
        ("10.0.0.0/8", true, Some("127.0.0.1")),
        ("127.0.0.0/8", false, None),
    ] {
        let launch = faulty().set("http.trusted_proxies", trusted);
        let launch = launch.set("http.log_client", log_client);
        let service = launch.ready().await;
        let request =
            "GET /slow?ms=0 HTTP/1.1\r\nhost: here\r\nx-forwarded-for: 203.0.113.9\r\n\r\n";
        assert_eq!(said(service.http().await, request).await.status, 200);
        let event = service.event("request").await;
        assert_eq!(event.field("client").as_str(), client, "{event}");
    }
}

#[tokio::test]
async fn paths_are_not_normalized() {
    let (service, before) = ready(faulty()).await;
    let address = service.http().await;
    for path in [
        "//slow?ms=0",
        "/slow/?ms=0",
        "/./slow?ms=0",
        "/x/../slow?ms=0",
        "/x/%2e%2e/slow?ms=0",
        "/%2fslow?ms=0",
        "/slow%00?ms=0",
        "/SLOW?ms=0",
        "/slow;x=1?ms=0",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n");
        let answer = said(address, request).await;
        assert_eq!(answer.status, 404, "{path}: {answer}");
        is_refused_as(&answer, "not_found");
    }
    assert_unaffected(&service, before).await;
}
