//! The edge around routes that misbehave, without a socket.

mod bodies;
#[cfg(feature = "gzip")]
mod gzip;

use std::convert::Infallible;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::request::Builder;
use axum::http::{HeaderMap, StatusCode};
use axum::response::AppendHeaders;
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tower::ServiceExt;

use super::*;
use crate::input::Json;
use crate::server::{Limits, Sockets};
use crate::settings::{Sources, Table};

const LIMIT: usize = 64;

/// The defaults, and these over them.
pub(crate) fn http(set: &[&str]) -> Http {
    #[derive(serde::Deserialize, garde::Validate)]
    struct OfHttp {
        #[garde(dive)]
        http: Http,
    }

    let sources = Sources {
        set: set.iter().map(ToString::to_string).collect(),
        ..Sources::default()
    };
    let loaded =
        crate::settings::load::<OfHttp>(Table::new(&[crate::sections::SETTINGS]), &sources);
    loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .settings
        .http
}

/// The routes of these tests behind the edge.
fn around_routes(set: &[&str]) -> Router {
    let body_limit = format!("http.body_limit={LIMIT}B");
    let set: Vec<_> = [
        body_limit.as_str(),
        "http.request_timeout=1s",
        "http.max_wait=500ms",
    ]
    .into_iter()
    .chain(set.iter().copied())
    .collect();
    let routes = Router::new()
        .route(
            "/number",
            post(async |Json(number): Json<Number>| number.0.to_string()),
        )
        .route("/panic", post(panics))
        .route("/slow", post(async || std::future::pending::<()>().await))
        .route(
            "/text",
            get(async || ([("cache-control", "max-age=60")], "text")),
        )
        .route("/raw", post(raw))
        .route("/thorough", post(thorough))
        .route(
            "/later",
            get(async || {
                let cookies = [("set-cookie", "a=1"), ("set-cookie", "b=2")];
                let later = [("retry-after", "60")];
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    later,
                    AppendHeaders(cookies),
                    "text",
                )
            }),
        )
        .route("/left", get(left))
        .route(
            "/who",
            get(async || {
                RequestContext::current()
                    .unwrap()
                    .client
                    .unwrap()
                    .to_string()
            }),
        );
    let streams = Router::new().route("/stream", post(async |body: Bytes| body));
    protect_with_streams(routes, streams, &http(&set), Recorder::default())
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

/// The time until the deadline, rounded up.
async fn left() -> &'static str {
    let is_short = RequestContext::time_left().unwrap() <= Duration::from_millis(500);
    if is_short { "500 ms" } else { "1 s" }
}

fn request(method: &str, path: &str) -> Builder {
    let request = Request::builder().method(method).uri(path);
    request.header("host", "localhost")
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

async fn send(routes: Router, request: Request) -> Answer {
    let (parts, body) = routes.oneshot(request).await.unwrap().into_parts();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: to_bytes(body, 10_000).await.unwrap(),
    }
}

/// A POST of JSON.
async fn posted(path: &str, kind: &str, body: impl Into<Body>) -> Answer {
    let request = request("POST", path).header("content-type", kind);
    send(around_routes(&[]), request.body(body.into()).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn every_error_is_a_problem_with_the_request_id() {
    let json = "application/json";
    let (large, long) = (
        "1".repeat(LIMIT + 1),
        format!("/text?{}", "x".repeat(LONGEST_URI)),
    );
    for (path, kind, body, status, code) in [
        ("/number", json, "7", 200, ""),
        ("/nothing", json, "", 404, "not_found"),
        ("/text", json, "", 405, "method_not_allowed"),
        ("/number", json, "", 400, "bad_request"),
        ("/number", json, "\"seven\"", 422, "invalid"),
        ("/number", "text/plain", "7", 415, "unsupported_media_type"),
        (
            "/number",
            "multipart/form-data; boundary=x",
            "--x--",
            415,
            "unsupported_media_type",
        ),
        ("/number", json, &large, 413, "body_too_large"),
        ("/panic", json, "", 500, "internal"),
        ("/slow", json, "", 504, "timeout"),
        (&long, json, "", 414, "uri_too_long"),
    ] {
        let answer = posted(path, kind, body.to_owned()).await;
        assert_eq!(answer.status, status, "{path} {body}");
        if status != 200 {
            let problem = answer.json();
            assert_eq!(problem["code"], code, "{path} {body}: {problem}");
            assert_eq!(problem["status"], status);
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            assert_eq!(
                answer.headers["x-request-id"],
                problem["request_id"].as_str().unwrap()
            );
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
        for header in ["x-content-type-options", "content-security-policy"] {
            assert!(answer.headers.contains_key(header), "{path}: {header}");
        }
    }
}

#[tokio::test]
async fn allowed_methods_are_in_405() {
    for method in ["PUT", "OPTIONS"] {
        let request = request(method, "/number").body(Body::empty()).unwrap();
        let answer = send(around_routes(&[]), request).await;
        assert_eq!(answer.code(), "method_not_allowed");
        assert_eq!(answer.headers["allow"], "POST");
    }
}

#[tokio::test]
async fn headers_of_a_handler_are_kept() {
    let text = request("GET", "/text").body(Body::empty()).unwrap();
    let answer = send(around_routes(&[]), text).await;
    assert_eq!(answer.headers["cache-control"], "max-age=60");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.text(), "text");

    let later = request("GET", "/later").body(Body::empty()).unwrap();
    let answer = send(around_routes(&[]), later).await;
    assert_eq!((answer.status, &*answer.code()), (503, "unavailable"));
    assert_eq!(answer.headers["retry-after"], "60");
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    let kinds = answer.headers.get_all("content-type").iter();
    assert_eq!(kinds.collect::<Vec<_>>(), ["application/problem+json"]);
}

#[tokio::test]
async fn only_trusted_proxies_set_id_client_and_timeout() {
    for (proxies, is_trusted) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let proxies = format!("http.trusted_proxies={proxies}");
        let routes = around_routes(&[&proxies, "http.timeout_header=x-request-timeout"]);
        let socket = Sockets::from_env(&[]).take("http", ([127, 0, 0, 1], 0).into());
        let listener = socket.unwrap().serve(routes, &Limits::OPERATOR).unwrap();
        let ask = async |path, time| {
            let head = format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: given-7\r\n\
                 x-forwarded-for: 203.0.113.9\r\nx-request-timeout: {time}\r\n\r\n"
            );
            let mut stream = TcpStream::connect(listener.address()).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let who = ask("/who", 500).await;
        assert_eq!(who.contains("\r\nx-request-id: given-7\r\n"), is_trusted);
        let (client, left) = if is_trusted {
            ("203.0.113.9", "\r\n500 ms")
        } else {
            ("127.0.0.1", "\r\n1 s")
        };
        assert!(who.ends_with(client), "{who}");
        assert!(ask("/left", 500).await.ends_with(left), "{proxies}");
        assert!(ask("/left", 5000).await.ends_with("\r\n1 s"), "{proxies}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_wait_or_get_a_503() {
    let routes = around_routes(&["http.max_in_flight=1", "http.max_waiting=1"]);
    let ask = async || {
        let request = request("POST", "/slow").body(Body::empty()).unwrap();
        let began = Instant::now();
        let answer = send(routes.clone(), request).await;
        (
            answer.code(),
            answer.headers.contains_key("retry-after"),
            began.elapsed().as_millis(),
        )
    };
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    assert_eq!(first, ("timeout".to_owned(), false, 1000));
    assert_eq!(second, ("overloaded".to_owned(), true, 500));
    assert_eq!(third, ("overloaded".to_owned(), true, 0));
}

#[tokio::test(start_paused = true)]
async fn cancelled_request_releases_its_permit() {
    let routes = around_routes(&["http.max_in_flight=1", "http.max_waiting=0"]);
    let slow = request("POST", "/slow").body(Body::empty()).unwrap();
    let leaves = tokio::time::timeout(Duration::from_millis(10), send(routes.clone(), slow));
    assert!(leaves.await.is_err());
    sleep(Duration::from_millis(1)).await;
    let next = request("GET", "/text").body(Body::empty()).unwrap();
    assert_eq!(send(routes, next).await.status, 200);
}

const FRIEND: &str = "https://app.example.org";
const EVIL: &str = "https://evil.example";

/// Sends a request of a page to routes that allow the origin of a friend.
async fn sent_by(origin: Option<&str>, method: &str, path: &str, body: &'static str) -> Answer {
    let allowed = [
        "http.allowed_origins=https://app.example.org",
        "http.refuse_other_origins=true",
    ];
    let mut request = request(method, path).header("content-type", "application/json");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    send(
        around_routes(&allowed),
        request.body(Body::from(body)).unwrap(),
    )
    .await
}

#[tokio::test]
async fn foreign_pages_read_and_write_what_is_allowed() {
    for (origin, may_read, changed) in [
        (FRIEND, true, (200, "")),
        (EVIL, false, (403, "cross_origin")),
        ("http://localhost", false, (200, "")),
    ] {
        let long = format!("/text?{}", "x".repeat(LONGEST_URI));
        let change = sent_by(Some(origin), "POST", "/number", "7").await;
        assert_eq!((change.status, &*change.code()), changed, "{origin}");
        for answer in [
            change,
            sent_by(Some(origin), "GET", "/text", "").await,
            sent_by(Some(origin), "GET", &long, "").await,
            sent_by(Some(origin), "POST", "/panic", "").await,
        ] {
            let allowed = answer.headers.get("access-control-allow-origin");
            let is_allowed = allowed.is_some_and(|allowed| allowed == origin);
            assert_eq!(is_allowed, may_read, "{origin} {}", answer.status);
            if may_read {
                let exposed = &answer.headers["access-control-expose-headers"];
                assert!(exposed.to_str().unwrap().contains("x-request-id"));
            }
        }
    }
}

#[tokio::test]
async fn every_answer_varies_by_origin() {
    for origin in [None, Some(FRIEND), Some(EVIL)] {
        for (method, path) in [("GET", "/text"), ("GET", "/nothing"), ("OPTIONS", "/text")] {
            let answer = sent_by(origin, method, path, "").await;
            assert_eq!(answer.headers["vary"], "origin", "{origin:?} {path}");
        }
    }
    // Without allowed origins, no answer varies.
    let text = request("GET", "/text").body(Body::empty()).unwrap();
    let answer = send(around_routes(&[]), text).await;
    assert!(!answer.headers.contains_key("vary"));
}

#[tokio::test]
async fn preflight_allows_method_and_headers() {
    let routes = around_routes(&["http.allowed_origins=https://app.example.org"]);
    let request = request("OPTIONS", "/number")
        .header("origin", FRIEND)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let answer = send(routes, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
    for (name, value) in [
        ("methods", "POST"),
        ("headers", "content-type"),
        ("origin", FRIEND),
    ] {
        let allowed = &answer.headers[format!("access-control-allow-{name}")];
        assert_eq!(allowed, value);
    }
}

/// glibc's thread cache has no blocks above 1032 bytes.
#[tokio::test]
async fn future_of_a_request_fits_one_kibibyte() {
    let admission = Arc::new(Admission::new(&http(&[])));
    let requests = Recorder::default();
    let routes = Router::new().route("/", get(async || "hello"));
    let routes = routes.layer(layer_fn(move |route| {
        let edge = Arc::new(Edge {
            route,
            streams_body: false,
            admission: Arc::clone(&admission),
            requests,
        });
        service_fn(move |request| {
            let future = handle(Arc::clone(&edge), request);
            assert!(size_of_val(&future) <= 1024, "{}", size_of_val(&future));
            future
        })
    }));
    let request = request("GET", "/").body(Body::empty()).unwrap();
    assert_eq!(send(routes, request).await.text(), "hello");
}
