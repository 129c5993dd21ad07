//! The operator's listener: the probes, the state of the process as JSON, and orders for tasks.
//!
//! It is meant for this machine alone. To listen anywhere else it needs a token, which every
//! request but a probe must then bring.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::cli::VERSION;
use super::health::Health;
use super::lifecycle::{self, Lifecycle};
use super::problem::Problem;
use super::settings::{Check, Entry, Reader, Secret, Section};
use super::supervisor::{Status, Supervisor};

/// `[operator]`
#[derive(Debug, Clone)]
pub struct Operator {
    pub listen: SocketAddr,
    pub token: Option<Secret>,
}

impl Section for Operator {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            listen: from.value("listen"),
            token: from.value("token"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        let sendable = |token: &Secret| token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        check.that(
            self.token.as_ref().is_none_or(sendable),
            &["operator.token"],
            "must be one line of visible ASCII, or no header could carry it",
        );
        check.that(
            self.listen.ip().is_loopback() || self.token.is_some(),
            &["operator.listen", "operator.token"],
            "a listener that other machines can reach needs a token; \
             set APP__OPERATOR__TOKEN_FILE, or listen on 127.0.0.1",
        );
    }
}

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
    pub settings: Vec<Entry>,
}

/// The operator's routes.
pub fn routes(operator: &Operator, shown: Shown, health: &Health) -> Router {
    Router::new()
        .route("/api/state", get(state))
        .route("/api/tasks/{name}/{order}", post(order))
        .with_state(Arc::new(shown))
        .layer(middleware::from_fn_with_state(
            operator.token.clone(),
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
    state: lifecycle::State,
    tasks: Vec<Status>,
    settings: &'a [Entry],
}

async fn state(State(shown): State<Arc<Shown>>) -> Response {
    Json(Snapshot {
        service: env!("CARGO_PKG_NAME"),
        version: VERSION,
        state: shown.lifecycle.state(),
        tasks: shown.supervisor.statuses(),
        settings: &shown.settings,
    })
    .into_response()
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
        _ => next.run(request).await,
    }
}
