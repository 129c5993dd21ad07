//! Handlers whose traces are of interest: of what they do, and of what they would send to others.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tracing::Instrument;

use crate::frame::context::Context;
use crate::frame::database::Database;

pub(super) fn routes(database: Database) -> Router {
    Router::new()
        .route("/call/{name}", get(call))
        .route("/fail", get(fail))
        .route("/panic", get(panics))
        .route("/slow", get(slow))
        .route(
            "/broken",
            get(async move || broken(database).await),
        )
}

/// What another service would be sent, from inside of a span of its own.
async fn call() -> HeaderMap {
    let call = async {
        tracing::info!("calling");
        let headers = Context::trace_headers().into_iter();
        headers.map(|(name, value)| (format!("sent-{name}").parse().unwrap(), value)).collect()
    };
    call.instrument(tracing::info_span!("call", peer = "inventory")).await
}

async fn fail() -> StatusCode {
    StatusCode::BAD_GATEWAY
}

async fn panics() {
    panic!("on purpose")
}

async fn slow() -> &'static str {
    tracing::info!("slow begun");
    tokio::time::sleep(Duration::from_secs(1)).await;
    "done"
}

/// A statement with a value in its text, which fails.
async fn broken(database: Database) -> StatusCode {
    let sql = sqlx::AssertSqlSafe("SELECT canary_column FROM targets WHERE url = 'canary-value'");
    match sqlx::query(sql).fetch_all(database.read()).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
