//! What stands between a socket and a handler.
//!
//! Every request has an id, which its answer carries in `x-request-id`; ends within
//! `http.request_timeout`, also if its handler panics; and leaves exactly one `request` event, with
//! the route's template and never the query string. Errors that no handler made (404, 405, a body
//! that is too large or no JSON) are problems like all others.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http_body::Body as _;

use super::metrics::http::{Ended, InFlight, Recorder};
use super::panics::caught;
use super::problem::{self, Problem};
use super::server::{Exchange, Limits};
use super::settings::{ByteSize, Check, Reader, Section};
use super::telemetry::message;

/// `[http]`: the public listener.
#[derive(Debug, Clone)]
pub struct Http {
    pub listen: SocketAddr,
    pub request_timeout: Duration,
    pub body_limit: ByteSize,
    pub limits: Limits,
}

impl Section for Http {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            listen: from.value("listen"),
            request_timeout: from.value("request_timeout"),
            body_limit: from.value("body_limit"),
            limits: from.part(),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            self.body_limit.0 > 0,
            &["http.body_limit"],
            "must be more than nothing",
        );
        let some_time = !self.request_timeout.is_zero();
        check.that(
            some_time,
            &["http.request_timeout"],
            "must be longer than nothing",
        );
    }
}

/// Puts the edge around the service's routes.
pub fn around(routes: Router, http: &Http, requests: Recorder) -> Router {
    routes
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
        .layer(DefaultBodyLimit::max(http.body_limit.0))
        .layer(middleware::from_fn_with_state(
            (http.request_timeout, requests),
            request,
        ))
}

async fn request(
    State((timeout, requests)): State<(Duration, Recorder)>,
    request: Request,
    next: Next,
) -> Response {
    let id = RequestId::next();
    let route = request.extensions().get::<MatchedPath>().cloned();
    if let (Some(exchange), Some(route)) = (request.extensions().get::<Exchange>(), &route) {
        exchange.routed(route.clone());
    }
    let mut event = Event {
        started: Instant::now(),
        method: request.method().clone(),
        route,
        id,
        status: None,
        in_flight: requests.begin(),
        bodies: [request.body().size_hint().exact(), None],
    };

    let answer = CURRENT.scope(id, async {
        match tokio::time::timeout(timeout, caught(next.run(request))).await {
            Ok(Ok(response)) => problem::in_place_of(response),
            // The panic itself is in the log already.
            Ok(Err(_)) => Problem::INTERNAL.into_response(),
            Err(_) => Problem::TIMEOUT.into_response(),
        }
    });
    let mut response = answer.await;

    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
    event.status = Some(response.status());
    event.bodies[1] = response.body().size_hint().exact();
    response
}

/// The `request` event, and what is counted of a request. It is told when it is dropped, so that a
/// client that has left before the answer does not leave without one.
struct Event {
    started: Instant,
    method: Method,
    route: Option<MatchedPath>,
    id: RequestId,
    status: Option<StatusCode>,
    in_flight: InFlight,
    /// The lengths of the request's body and of the answer's, where they are known.
    bodies: [Option<u64>; 2],
}

/// What a request is logged with whose client did not wait for the answer. Nobody receives it.
const CLIENT_LEFT: u16 = 499;

impl Drop for Event {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let status = self.status.map_or(CLIENT_LEFT, |status| status.as_u16());
        self.in_flight.ended(&Ended {
            method: &self.method,
            route,
            status,
            took,
            bodies: self.bodies,
        });
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        tracing::info!(
            message = message::REQUEST,
            method = self.method.as_str(),
            route = route.unwrap_or("unmatched"),
            status,
            duration_ms = f64::from(micros) / 1e3,
            request_id = %self.id,
        );
    }
}

tokio::task_local! {
    static CURRENT: RequestId;
}

/// Names one request, uniquely enough to find it among all replicas. Made without a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(u64, u64);

impl RequestId {
    /// The id of the request that this code is running for.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|id| *id).ok()
    }

    fn next() -> Self {
        static PROCESS: LazyLock<(RandomState, u64)> = LazyLock::new(|| {
            let state = RandomState::new();
            let process = RandomState::new().hash_one(std::process::id());
            (state, process)
        });
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (state, process) = &*PROCESS;
        Self(
            *process,
            state.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)),
        )
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::post;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    fn small() -> Http {
        Http {
            listen: ([127, 0, 0, 1], 0).into(),
            request_timeout: Duration::from_secs(1),
            body_limit: ByteSize(64),
            limits: Limits::OPERATOR,
        }
    }

    async fn panics() {
        panic!("a secret of the inside")
    }

    /// The status, headers and body of an answer to a POST with this body.
    async fn answer(path: &str, kind: &str, body: &str) -> (u16, Response, Value) {
        let http = small();
        let routes = Router::new()
            .route("/number", post(|axum::Json(_): axum::Json<u8>| async {}))
            .route("/panic", post(panics))
            .route("/slow", post(async || std::future::pending::<()>().await));
        let request = Request::post(path).header("content-type", kind);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let edge = around(routes, &http, Recorder::new());
        let response = edge.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 10_000).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        (
            parts.status.as_u16(),
            Response::from_parts(parts, Body::empty()),
            json,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn every_error_is_a_problem_with_the_requests_id() {
        let json = "application/json";
        let large = "1".repeat(65);
        for (path, kind, body, status, code) in [
            ("/number", json, "7", 200, ""),
            ("/nothing", json, "", 404, "not_found"),
            ("/number", json, "", 400, "bad_request"),
            ("/number", json, "\"seven\"", 422, "unprocessable"),
            ("/number", "text/plain", "7", 415, "unsupported_media_type"),
            ("/number", json, &large, 413, "body_too_large"),
            ("/panic", json, "", 500, "internal"),
            ("/slow", json, "", 504, "timeout"),
        ] {
            let (given, response, problem) = answer(path, kind, body).await;
            assert_eq!(given, status, "{path} {body}");
            if status != 200 {
                assert_eq!(problem["code"], code, "{path} {body}: {problem}");
                assert_eq!(problem["status"], status);
                let headers = response.headers();
                assert_eq!(headers["content-type"], "application/problem+json");
                assert_eq!(
                    headers["x-request-id"],
                    problem["request_id"].as_str().unwrap()
                );
                assert!(!problem.to_string().contains("secret"), "{problem}");
            }
        }
    }

    #[tokio::test]
    async fn a_method_that_is_not_allowed_is_told_which_are() {
        let routes = Router::new().route("/", post(async || ()));
        let http = small();
        let request = Request::get("/").body(Body::empty()).unwrap();
        let edge = around(routes, &http, Recorder::new());
        let response = edge.oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &HeaderValue::from_static("POST"))
        );
    }
}
