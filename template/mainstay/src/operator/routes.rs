//! What an operator can see and order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::time::timeout;

use super::log_filter;
use super::snapshot::PoolNumbers;
use super::state::OperatorState;
use crate::build_info::BuildInfo;
use crate::edge::{beside, is_foreign};
use crate::input::{Json, Path};
use crate::lifecycle;
use crate::metrics;
use crate::panics::caught;
use crate::problem::{Problem, into_problem_response};
use crate::server::Traffic;
use crate::settings::Entry;
use crate::supervisor::Status;

const UNAUTHORIZED: Problem = Problem::new(
    StatusCode::UNAUTHORIZED,
    "unauthorized",
    "The operator's token is required",
);

/// The operator's routes.
pub(crate) fn routes(shown: Arc<OperatorState>) -> Router {
    let probes = shown.health.routes();
    Router::new()
        .route("/metrics", get(metrics))
        .route("/api/state", get(state))
        .route("/api/stop", post(stop))
        .route("/api/tasks/{name}/{order}", post(order))
        .route(
            "/api/log-filter",
            get(log_filter::show).put(log_filter::change),
        )
        .with_state(Arc::clone(&shown))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(shown, guard))
        .merge(probes)
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
        .layer(middleware::from_fn(|request, next| {
            beside(TIME_LIMIT, request, next)
        }))
}

#[derive(Serialize)]
struct StateAnswer<'a> {
    service: &'static str,
    version: String,
    #[serde(flatten)]
    lifecycle: lifecycle::State,
    http: Option<Traffic>,
    database: Option<PoolNumbers>,
    stalls: u64,
    stalled_ms: Option<u128>,
    tasks: Vec<Status>,
    settings: &'a [Entry],
}

async fn state(State(shown): State<Arc<OperatorState>>) -> Response {
    let info = BuildInfo::current();
    let stalled = shown.pulse.stalled_for();
    Json(StateAnswer {
        service: info.name,
        version: info.version_line(),
        lifecycle: shown.lifecycle.state(),
        http: shown.traffic(),
        database: shown.pools(),
        stalls: shown.pulse.stalls(),
        stalled_ms: stalled.map(|time| time.as_millis()),
        tasks: shown.supervisor.statuses(),
        settings: &shown.settings,
    })
    .into_response()
}

async fn metrics(State(shown): State<Arc<OperatorState>>) -> impl IntoResponse {
    let page = shown.metrics_page();
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page)
}

/// Begins an orderly stop.
async fn stop(State(shown): State<Arc<OperatorState>>) -> StatusCode {
    shown.lifecycle.request_stop();
    StatusCode::ACCEPTED
}

/// Takes an order for a task, which carries it out as soon as it can.
async fn order(
    State(shown): State<Arc<OperatorState>>,
    Path((name, order)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let done = match order.as_str() {
        "pause" => shown.supervisor.pause(&name),
        "resume" => shown.supervisor.resume(&name),
        "restart" => shown.supervisor.restart(&name),
        _ => return Err(Problem::NOT_FOUND),
    };
    done.map(|()| StatusCode::ACCEPTED)
        .map_err(|_| Problem::NOT_FOUND)
}

/// The most that an operator has to say, and how long that may take, in bytes and in time.
const BODY_LIMIT: usize = 16 * 1024;
const TIME_LIMIT: Duration = Duration::from_secs(10);

async fn guard(State(shown): State<Arc<OperatorState>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).cloned();
    let admitted = match &shown.token {
        Some(token) if !token.is_in(given.as_ref()).await => {
            let how = HeaderValue::from_static("Bearer");
            Err(UNAUTHORIZED.with_header(header::WWW_AUTHENTICATE, how))
        }
        // A name can be made to lead here by whoever has it: their pages would then come from here.
        None if !is_for_this_machine(&request) => Err(Problem::MISDIRECTED),
        _ if *request.method() != Method::GET && is_foreign(&request) => Err(Problem::CROSS_ORIGIN),
        _ => Ok(()),
    };
    if let Err(problem) = admitted {
        return problem.into_response();
    }
    match timeout(TIME_LIMIT, caught(next.run(request))).await {
        Ok(Ok(response)) => into_problem_response(response),
        Ok(Err(_)) => Problem::INTERNAL.into_response(),
        // Nothing here takes long but to hear what is wanted.
        Err(_) => Problem::TOO_SLOW.into_response(),
    }
}

/// Whether the machine is asked by a name that is always its own. Whatever is no browser need not say.
fn is_for_this_machine(request: &Request) -> bool {
    let hosts = request.headers().get_all(header::HOST);
    hosts.iter().all(|host| {
        let host = Authority::try_from(host.as_bytes()).ok();
        host.is_some_and(|host| {
            let name = host.host().trim_start_matches('[').trim_end_matches(']');
            let address = name.parse().map(|address: IpAddr| address.is_loopback());
            address.unwrap_or_else(|_| name.eq_ignore_ascii_case("localhost"))
        })
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn without_a_token_only_this_machine_is_meant() {
        for (host, is_it) in [
            ("localhost:9090", true),
            ("LOCALHOST", true),
            ("127.0.0.1:9090", true),
            ("127.1.2.3", true),
            ("[::1]:9090", true),
            ("evil.example:9090", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("192.0.2.1:9090", false),
            ("", false),
        ] {
            let request = Request::builder().header(header::HOST, host);
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(is_for_this_machine(&request), is_it, "{host}");
        }
        let nobody = Request::new(Body::empty());
        assert!(is_for_this_machine(&nobody));
    }
}
