//! The routes of the operator's listener, and which requests they accept.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use garde::Validate;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::state::{Numbers, OperatorState};
use crate::build_info::BuildInfo;
use crate::edge::{check_host, is_foreign, with_id_and_host};
use crate::input::{Json, Path};
use crate::panics::caught;
use crate::problem::{Fault, Problem, into_problem_response};
use crate::settings::Entry;
use crate::supervisor::{Order, Status};
use crate::telemetry::{Filter, FilterState};
use crate::{lifecycle, metrics};

const UNAUTHORIZED: Problem = Problem::new(
    StatusCode::UNAUTHORIZED,
    "unauthorized",
    "The operator's token is required",
);

const BODY_LIMIT: usize = 16 * 1024;
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The hosts that a request may name if no token is set.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

pub(crate) fn routes(state: Arc<OperatorState>) -> Router {
    let probes = state.health.routes();
    let log_filter = get(show_log_filter).put(change_log_filter);
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/api/state", get(show_state))
        .route("/api/stop", post(stop))
        .route("/api/tasks/{name}/{action}", post(control_task))
        .route("/api/log-filter", log_filter)
        .with_state(Arc::clone(&state))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(state, guard))
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
        .layer(middleware::from_fn(|request, next| {
            with_id_and_host(TIME_LIMIT, request, next)
        }))
        .merge(probes)
}

/// Whether the host must be checked: always, except that HTTP/1.0, which no browser sends, may omit the header.
fn must_check_host(request: &Request) -> bool {
    request.version() > Version::HTTP_10 || request.headers().contains_key(header::HOST)
}

/// Checks the token, the host and the origin of a request, and limits its time.
async fn guard(State(state): State<Arc<OperatorState>>, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let refusal = match &state.token {
        Some(token) if !state.accepts(token, authorization) => {
            let scheme = HeaderValue::from_static("Bearer");
            Some(UNAUTHORIZED.with_header(header::WWW_AUTHENTICATE, scheme))
        }
        // Against DNS rebinding: a page of another site can reach this listener by a host name of that site.
        None if must_check_host(&request) && check_host(&request, &LOOPBACK_HOSTS).is_err() => {
            Some(Problem::MISDIRECTED)
        }
        _ if *request.method() != Method::GET && is_foreign(&request) => {
            Some(Problem::CROSS_ORIGIN)
        }
        _ => None,
    };
    if let Some(problem) = refusal {
        return problem.into_response();
    }
    match timeout(TIME_LIMIT, caught(next.run(request))).await {
        Ok(Ok(response)) => into_problem_response(response),
        Ok(Err(_)) => Problem::INTERNAL.into_response(),
        // The handlers are fast: only the body of the request can take that long.
        Err(_) => Problem::TOO_SLOW.into_response(),
    }
}

async fn show_metrics(State(state): State<Arc<OperatorState>>) -> impl IntoResponse {
    let content_type = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (content_type, state.metrics_page())
}

#[derive(Serialize)]
struct ProcessState<'a> {
    service: &'static str,
    version: String,
    #[serde(flatten)]
    lifecycle: lifecycle::State,
    #[serde(flatten)]
    numbers: Numbers,
    stalls: u64,
    tasks: Vec<Status>,
    settings: &'a [Entry],
}

async fn show_state(State(state): State<Arc<OperatorState>>) -> Response {
    let info = BuildInfo::current();
    Json(ProcessState {
        service: info.name,
        version: info.version_line(),
        lifecycle: state.lifecycle.state(),
        numbers: (state.numbers)(),
        stalls: state.health.pulse.progress().stalls,
        tasks: state.supervisor.statuses(),
        settings: &state.settings,
    })
    .into_response()
}

async fn stop(State(state): State<Arc<OperatorState>>) -> StatusCode {
    state.lifecycle.stop_requested.cancel();
    StatusCode::ACCEPTED
}

/// Pauses, resumes or restarts a task. The response does not wait for the task.
async fn control_task(
    State(state): State<Arc<OperatorState>>,
    Path((name, action)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let order = match action.as_str() {
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        "restart" => Order::Restart,
        _ => return Err(Problem::NOT_FOUND),
    };
    let ordered = state.supervisor.order(&name, order);
    ordered.map_err(|_| Problem::NOT_FOUND)?;
    Ok(StatusCode::ACCEPTED)
}

/// A log filter that expires after some time.
#[derive(Deserialize, Validate)]
#[garde(allow_unvalidated)]
struct FilterChange {
    filter: String,
    r#for: Option<String>,
}

async fn show_log_filter(State(state): State<Arc<OperatorState>>) -> Json<FilterState> {
    Json(state.log_filter.state())
}

async fn change_log_filter(
    State(state): State<Arc<OperatorState>>,
    Json(change): Json<FilterChange>,
) -> Result<Json<FilterState>, Problem> {
    let invalid = |field, expected| Problem::INVALID.with([Fault::in_body(field, expected)]);
    let Some(filter) = Filter::parse(&change.filter) else {
        let expected = format!("expected {}", Filter::SYNTAX);
        return Err(invalid("/filter", expected));
    };
    let limits = Duration::from_secs(1)..=Duration::from_hours(24);
    let time = humantime::parse_duration(change.r#for.as_deref().unwrap_or("15m")).ok();
    let Some(time) = time.filter(|time| limits.contains(time)) else {
        let expected = "expected a duration from `1s` to `24h`, such as `10m`".to_owned();
        return Err(invalid("/for", expected));
    };
    state.log_filter.set_for(time, &filter);
    Ok(Json(state.log_filter.state()))
}
