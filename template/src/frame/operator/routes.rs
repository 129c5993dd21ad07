//! What an operator can see and order.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use super::{Settings, log_filter};
use crate::frame::cli::VERSION;
use crate::frame::database::{Database, Numbers};
use crate::frame::health::Health;
use crate::frame::lifecycle::{self, Lifecycle};
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

const FOREIGN: Problem = Problem::new(
    StatusCode::FORBIDDEN,
    "foreign_origin",
    "An order is not taken from the page of another site",
);

/// What the operator is shown, and can act on.
#[derive(Debug)]
pub struct Shown {
    pub lifecycle: Lifecycle,
    pub supervisor: Supervisor,
    pub pulse: Pulse,
    /// The service's listener, once there is one.
    pub http: watch::Receiver<Option<Watch>>,
    pub database: watch::Receiver<Option<Database>>,
    pub settings: Vec<Entry>,
    pub filtering: Filtering,
}

/// The operator's routes.
pub fn routes(settings: &Settings, shown: Shown, health: &Health) -> Router {
    Router::new()
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
        .merge(health.routes())
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
            ([(header::WWW_AUTHENTICATE, "Bearer")], UNAUTHORIZED).into_response()
        }
        _ if *request.method() != Method::GET && is_foreign(request.headers()) => {
            FOREIGN.into_response()
        }
        _ => next.run(request).await,
    }
}

/// Whether a browser sends this for a page that did not come from here. A page of any site can make
/// a browser on this machine send orders; it cannot make it hide where they come from.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(HeaderValue::as_bytes);
    let host = text(header::HOST).unwrap_or_default();
    text(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.strip_prefix(b"http://").unwrap_or(origin);
        origin != host
    })
}
