//! What an operator can see and order.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use super::{Settings, log_filter};
use crate::frame::cli::VERSION;
use crate::frame::database::{Database, Numbers};
use crate::frame::edge::is_foreign;
use crate::frame::health::Health;
use crate::frame::input::{Json, Path};
use crate::frame::lifecycle::{self, Lifecycle};
use crate::frame::metrics::{self, Metrics};
use crate::frame::problem::Problem;
use crate::frame::server::{Traffic, Watch};
use crate::frame::settings::{Entry, Secret};
use crate::frame::supervisor::{Status, Supervisor};
use crate::frame::telemetry::Filtering;
use crate::frame::watchdog::Pulse;

const UNAUTHORIZED: Problem = Problem::new(
    StatusCode::UNAUTHORIZED,
    "unauthorized",
    "The operator's token is needed here",
);

/// What the operator is shown, and can act on.
#[derive(Debug)]
pub struct Shown {
    pub lifecycle: Lifecycle,
    pub supervisor: Supervisor,
    pub pulse: Pulse,
    pub health: Health,
    pub metrics: Metrics,
    /// The service's listener, once there is one.
    pub http: watch::Receiver<Option<Watch>>,
    pub database: watch::Receiver<Option<Database>>,
    pub settings: Vec<Entry>,
    pub filtering: Filtering,
}

/// The operator's routes.
pub fn routes(settings: &Settings, shown: Shown) -> Router {
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
        .with_state(Arc::new(shown))
        .layer(middleware::from_fn_with_state(
            settings.token.clone(),
            guard,
        ))
        .merge(probes)
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
}

#[derive(Serialize)]
struct Snapshot<'a> {
    service: &'static str,
    version: &'static str,
    #[serde(flatten)]
    lifecycle: lifecycle::State,
    http: Option<Traffic>,
    database: Option<BTreeMap<&'static str, Numbers>>,
    stalls: u64,
    stalled_ms: Option<u128>,
    tasks: Vec<Status>,
    settings: &'a [Entry],
}

async fn state(State(shown): State<Arc<Shown>>) -> Response {
    let http = shown.http.borrow().as_ref().map(Watch::numbers);
    let database = shown.database.borrow().as_ref().map(Database::numbers);
    let stalled = shown.pulse.stalled_for();
    Json(Snapshot {
        service: env!("CARGO_PKG_NAME"),
        version: VERSION,
        lifecycle: shown.lifecycle.state(),
        http,
        database,
        stalls: shown.pulse.stalls(),
        stalled_ms: stalled.map(|time| time.as_millis()),
        tasks: shown.supervisor.statuses(),
        settings: &shown.settings,
    })
    .into_response()
}

async fn metrics(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    let http = shown.http.borrow().as_ref().map(Watch::numbers);
    let database = shown.database.borrow().as_ref().map(Database::numbers);
    let text = shown.metrics.text(&metrics::Snapshot {
        lifecycle: shown.lifecycle.state(),
        http,
        database,
        tasks: shown.supervisor.statuses(),
        checks: shown.health.checked(),
        stalls: shown.pulse.stalls(),
        stalled_for: shown.pulse.stalled_for(),
    });
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
}

/// Begins an orderly stop.
async fn stop(State(shown): State<Arc<Shown>>) -> StatusCode {
    shown.lifecycle.ask_to_stop();
    StatusCode::ACCEPTED
}

/// Takes an order for a task, which carries it out as soon as it can.
async fn order(
    State(shown): State<Arc<Shown>>,
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

async fn guard(State(token): State<Option<Secret>>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .unwrap_or_default();
    match token {
        Some(token) if !bool::from(token.expose().as_bytes().ct_eq(given)) => {
            let how = HeaderValue::from_static("Bearer");
            let refused = UNAUTHORIZED.and_header(header::WWW_AUTHENTICATE, how);
            refused.into_response()
        }
        _ if *request.method() != Method::GET && is_foreign(request.headers()) => {
            Problem::CROSS_ORIGIN.into_response()
        }
        _ => next.run(request).await,
    }
}
