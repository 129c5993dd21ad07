//! The edge around routes that misbehave, without a socket.

mod bodies;
#[cfg(feature = "gzip")]
mod gzip;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use axum::response::AppendHeaders;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::*;
use crate::input::Json;
use crate::server::{Limits, Sockets};
use crate::testing::Answer;
use crate::tests::{outcome, request, send, settings};

const LIMIT: usize = 64;

/// The routes of these tests behind the edge, with `set` over its settings.
fn around_routes(set: &[&str]) -> Router {
    let body_limit = format!("http.body_limit={LIMIT}B");
    let times = ["http.request_timeout=1s", "http.max_wait=500ms"];
    let set = [&[&*body_limit], &times[..], set].concat();
    let number = async |Json(number): Json<Number>| number.0.to_string();
    let routes = Router::new()
        .route("/number", post(number))
        .route("/panic", post(panics))
        .route("/slow", post(async || std::future::pending::<()>().await))
        .route(
            "/text",
            get(async || ([("cache-control", "max-age=60")], "text")),
        )
        .route("/raw", post(raw))
        .route("/thorough", post(thorough))
        .route("/later", get(later))
        .route("/who", get(who));
    let streams = Router::new().route("/stream", post(async |body: Bytes| body));
    protect_with_streams(routes, streams, &settings(&set).http, Recorder::default())
}

#[derive(serde::Deserialize, garde::Validate)]
struct Number(#[garde(skip)] u8);

async fn panics() {
    panic!("a secret of the inside")
}

/// Reads the body without an extractor, and answers 500 if that fails.
async fn raw(body: Body) -> Result<String, StatusCode> {
    let bytes = to_bytes(body, usize::MAX).await;
    let bytes = bytes.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(bytes.len().to_string())
}

/// Works for a while.
async fn thorough(body: Bytes) -> String {
    sleep(Duration::from_millis(900)).await;
    body.len().to_string()
}

async fn later() -> impl IntoResponse {
    let cookies = AppendHeaders([("set-cookie", "a=1"), ("set-cookie", "b=2")]);
    let later = [("retry-after", "60")];
    (StatusCode::SERVICE_UNAVAILABLE, later, cookies, "text")
}

/// The client, and the time until the deadline, rounded up.
async fn who() -> String {
    let client = RequestContext::current().unwrap().client.unwrap();
    let left = RequestContext::time_left().unwrap();
    format!("{client} has {} s", left.as_secs() + 1)
}

/// Sends a POST of JSON.
async fn post_json(routes: &Router, path: &str, body: impl Into<Body>) -> Answer {
    let request = request("POST", path).header("content-type", "application/json");
    send(routes, request, body).await
}

#[tokio::test(start_paused = true)]
async fn every_error_is_a_problem_with_the_request_id() {
    let json = "application/json";
    let form = "multipart/form-data; boundary=x";
    let large = "1".repeat(LIMIT + 1);
    let long = format!("/text?{}", "x".repeat(LONGEST_URI));
    let routes = around_routes(&[]);
    for (path, kind, body, expected) in [
        ("/number", json, "7", "200"),
        ("/number", "Application/JSON; charset=utf-8", "7", "200"),
        ("/number", "application/problem+json", "7", "200"),
        ("/nothing", json, "", "404 not_found"),
        ("/text", json, "", "405 method_not_allowed"),
        ("/number", json, "", "400 bad_request"),
        ("/number", json, "\"seven\"", "422 invalid"),
        ("/number", "text/json", "7", "415 unsupported_media_type"),
        ("/number", "", "7", "415 unsupported_media_type"),
        ("/number", form, "--x--", "415 unsupported_media_type"),
        ("/number", json, &large, "413 body_too_large"),
        ("/panic", json, "", "500 internal"),
        ("/slow", json, "", "504 timeout"),
        (&long, json, "", "414 uri_too_long"),
    ] {
        let request = request("POST", path).header("content-type", kind);
        let answer = send(&routes, request, body.to_owned()).await;
        assert_eq!(outcome(&answer), expected, "{path} {body}");
        if expected != "200" {
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            let problem = answer.json();
            assert_eq!(problem["status"], answer.status);
            let id = answer.header("x-request-id").unwrap();
            assert_eq!(problem["request_id"], id);
            assert!(!answer.body.contains("secret"), "{answer:?}");
        }
        for header in ["x-content-type-options", "content-security-policy"] {
            assert!(answer.header(header).is_some(), "{path}: {header}");
        }
    }
}

#[tokio::test]
async fn allowed_methods_are_in_405() {
    for method in ["PUT", "OPTIONS"] {
        let answer = send(&around_routes(&[]), request(method, "/number"), "").await;
        assert_eq!(outcome(&answer), "405 method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
}

#[tokio::test]
async fn headers_of_a_handler_are_kept() {
    let routes = around_routes(&[]);
    let answer = send(&routes, request("GET", "/text"), "").await;
    assert_eq!(answer.header("cache-control"), Some("max-age=60"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.body, "text");

    let answer = send(&routes, request("GET", "/later"), "").await;
    assert_eq!(outcome(&answer), "503 unavailable");
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    let kinds = answer.headers.get_all("content-type").iter();
    assert_eq!(kinds.collect::<Vec<_>>(), ["application/problem+json"]);
}

#[tokio::test]
async fn only_trusted_proxies_set_id_client_and_timeout() {
    for (proxies, is_trusted) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let proxies = format!("http.trusted_proxies={proxies}");
        let header = "http.timeout_header=x-request-timeout";
        let routes = around_routes(&[&proxies, header, "http.request_timeout=20s"]);
        let socket = Sockets::from_env(&[]).take("http", ([127, 0, 0, 1], 0).into());
        let listener = socket.unwrap().serve(routes, &Limits::OPERATOR).unwrap();
        for (given, time) in [(9_000, "9 s"), (50_000, "20 s")] {
            let head = format!(
                "GET /who HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: given-7\r\n\
                 x-forwarded-for: 203.0.113.9\r\nx-request-timeout: {given}\r\n\r\n"
            );
            let mut stream = TcpStream::connect(listener.address()).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();

            assert_eq!(answer.contains("\r\nx-request-id: given-7\r\n"), is_trusted);
            let who = if is_trusted {
                format!("\r\n203.0.113.9 has {time}")
            } else {
                "\r\n127.0.0.1 has 20 s".to_owned()
            };
            assert!(answer.ends_with(&who), "{answer}, not {who}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_wait_or_get_a_503() {
    let routes = around_routes(&["http.max_in_flight=1", "http.max_waiting=1"]);
    let ask = async |delay, method, path| {
        sleep(Duration::from_millis(delay)).await;
        let began = Instant::now();
        let answer = send(&routes, request(method, path), "").await;
        let is_later = answer.header("retry-after").is_some();
        (answer.status, is_later, began.elapsed().as_millis())
    };
    let (first, second, third, fourth) = tokio::join!(
        ask(0, "POST", "/slow"),
        ask(0, "POST", "/slow"),
        ask(0, "POST", "/slow"),
        ask(600, "GET", "/text"),
    );
    assert_eq!(first, (504, false, 1000));
    assert_eq!(second, (503, true, 500), "it waits as long as it may");
    assert_eq!(third, (503, true, 0), "there is no room to wait");
    assert_eq!(fourth, (200, false, 400), "it gets the permit of the first");
}

#[tokio::test(start_paused = true)]
async fn cancelled_request_releases_its_permit() {
    let routes = around_routes(&["http.max_in_flight=1", "http.max_waiting=0"]);
    let slow = send(&routes, request("POST", "/slow"), "");
    assert!(timeout(Duration::from_millis(10), slow).await.is_err());
    assert_eq!(send(&routes, request("GET", "/text"), "").await.status, 200);
}

const FRIEND: &str = "https://app.example.org";
const EVIL: &str = "https://evil.example";

/// Sends a request of a page to routes that allow the origin of a friend.
async fn sent_by(origin: Option<&str>, method: &str, path: &str, body: &'static str) -> Answer {
    let allowed = format!("http.allowed_origins={FRIEND}");
    let routes = around_routes(&[&allowed, "http.refuse_other_origins=true"]);
    let mut request = request(method, path).header("content-type", "application/json");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    send(&routes, request, body).await
}

#[tokio::test]
async fn foreign_pages_read_and_write_what_is_allowed() {
    for (origin, may_read, changed) in [
        (FRIEND, true, "200"),
        (EVIL, false, "403 cross_origin"),
        ("http://localhost", false, "200"),
    ] {
        let long = format!("/text?{}", "x".repeat(LONGEST_URI));
        let change = sent_by(Some(origin), "POST", "/number", "7").await;
        assert_eq!(outcome(&change), changed, "{origin}");
        for answer in [
            change,
            sent_by(Some(origin), "GET", "/text", "").await,
            sent_by(Some(origin), "GET", &long, "").await,
            sent_by(Some(origin), "POST", "/panic", "").await,
        ] {
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed == Some(origin), may_read, "{origin} {answer:?}");
            if may_read {
                let exposed = answer.header("access-control-expose-headers");
                assert!(exposed.unwrap().contains("x-request-id"));
            }
        }
    }
}

#[tokio::test]
async fn every_answer_varies_by_origin() {
    for origin in [None, Some(FRIEND), Some(EVIL)] {
        for (method, path) in [("GET", "/text"), ("GET", "/nothing"), ("OPTIONS", "/text")] {
            let answer = sent_by(origin, method, path, "").await;
            assert_eq!(answer.header("vary"), Some("origin"), "{origin:?} {path}");
        }
    }
    // Without allowed origins, no answer varies.
    let answer = send(&around_routes(&[]), request("GET", "/text"), "").await;
    assert_eq!(answer.header("vary"), None);
}

#[tokio::test]
async fn preflight_allows_method_and_headers() {
    let allowed = format!("http.allowed_origins={FRIEND}");
    let request = request("OPTIONS", "/number")
        .header("origin", FRIEND)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let answer = send(&around_routes(&[&allowed]), request, "").await;
    assert_eq!(answer.status, 200);
    for (what, value) in [
        ("methods", "POST"),
        ("headers", "content-type"),
        ("origin", FRIEND),
    ] {
        let allowed = answer.header(&format!("access-control-allow-{what}"));
        assert_eq!(allowed, Some(value), "{what}");
    }
}

/// glibc's thread cache has no blocks above 1032 bytes.
#[test]
fn future_of_a_request_fits_one_kibibyte() {
    fn size_of_result<F>(_: fn(Arc<Edge>, Request) -> F) -> usize {
        size_of::<F>()
    }
    let size = size_of_result(handle);
    assert!(size <= 1024, "{size} bytes");
}
