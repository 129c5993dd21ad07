//! What stands between a socket and a handler.
//!
//! Every request has an id, which its answer carries in `x-request-id`; ends within
//! `http.request_timeout`; and leaves exactly one `request` event, with the route's template and
//! never the query string. Errors without a handler (404, 405, a body that is too large) are
//! problems like all others.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::settings::{ByteSize, Check, Reader, Section};
use super::telemetry::message;

/// `[http]`: the public listener.
#[derive(Debug, Clone)]
pub struct Http {
    pub listen: SocketAddr,
    pub request_timeout: Duration,
    pub body_limit: ByteSize,
}

impl Section for Http {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            listen: from.value("listen"),
            request_timeout: from.value("request_timeout"),
            body_limit: from.value("body_limit"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        let some_time = !self.request_timeout.is_zero();
        check.that(
            some_time,
            &["http.request_timeout"],
            "must be longer than nothing",
        );
    }
}

/// Puts the edge around the service's routes.
pub fn around(routes: Router, http: &Http) -> Router {
    routes
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
        .layer(DefaultBodyLimit::max(http.body_limit.0))
        .layer(middleware::from_fn_with_state(
            http.request_timeout,
            request,
        ))
}

async fn request(State(timeout): State<Duration>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::next();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();

    let answer = CURRENT.scope(id, async {
        let answered = tokio::time::timeout(timeout, next.run(request)).await;
        answered.unwrap_or_else(|_| Problem::TIMEOUT.into_response())
    });
    let mut response = answer.await;

    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
    tracing::info!(
        message = message::REQUEST,
        method = method.as_str(),
        route = route.as_ref().map_or("unmatched", MatchedPath::as_str),
        status = response.status().as_u16(),
        duration_ms = started.elapsed().as_secs_f64() * 1e3,
        request_id = %id,
    );
    response
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
