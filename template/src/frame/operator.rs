//! The operator's listener: the probes, and the state of the process as JSON.
//!
//! It is meant for this machine alone. To listen anywhere else it needs a token, which every
//! request but a probe must then bring.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::cli::VERSION;
use super::health::Health;
use super::lifecycle::{self, Lifecycle};
use super::problem::Problem;
use super::settings::{Check, Entry, Reader, Secret, Section};

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

/// The operator's routes.
pub fn routes(
    operator: &Operator,
    lifecycle: &Lifecycle,
    health: &Health,
    settings: Vec<Entry>,
) -> Router {
    let shown = Arc::new(Shown {
        lifecycle: lifecycle.clone(),
        settings,
    });
    let guard = middleware::from_fn_with_state(operator.token.clone(), guard);
    Router::new()
        .route("/api/state", get(state))
        .with_state(shown)
        .layer(guard)
        .merge(health.routes())
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
}

struct Shown {
    lifecycle: Lifecycle,
    settings: Vec<Entry>,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    service: &'static str,
    version: &'static str,
    state: lifecycle::State,
    settings: &'a [Entry],
}

async fn state(State(shown): State<Arc<Shown>>) -> Response {
    Json(Snapshot {
        service: env!("CARGO_PKG_NAME"),
        version: VERSION,
        state: shown.lifecycle.state(),
        settings: &shown.settings,
    })
    .into_response()
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
