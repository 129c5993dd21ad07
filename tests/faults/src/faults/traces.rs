//! Handlers for tests of traces: a statement, a failure, and a call to another service.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::get;
use mainstay::context::RequestContext;
use mainstay::problem::Problem;
use tracing::Instrument;

use crate::settings::Database;

pub(super) fn routes(database: Database) -> Router {
    Router::new()
        .route("/guests", get(guests))
        .route("/broken", get(broken))
        .with_state(database)
        .route("/call/{name}", get(call))
        .route("/fail", get(fail))
}

/// The names of all guests: one statement.
async fn guests(State(database): State<Database>) -> Result<String, Problem> {
    let query = sqlx::query_scalar("SELECT name FROM guests ORDER BY name");
    let names: Vec<String> = query.fetch_all(database.read()).await?;
    Ok(names.join("\n"))
}

/// A statement with a value in its text, which fails.
async fn broken(State(database): State<Database>) -> StatusCode {
    let sql = sqlx::AssertSqlSafe("SELECT canary_column FROM guests WHERE name = 'canary-value'");
    match sqlx::query(sql).fetch_all(database.read()).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The headers that another service would receive, from inside of a span.
async fn call() -> HeaderMap {
    let call = async {
        tracing::info!("calling");
        let headers = RequestContext::trace_headers().into_iter();
        let sent = headers.filter_map(|(name, value)| {
            let name: HeaderName = format!("sent-{name}").parse().ok()?;
            Some((name, value))
        });
        sent.collect()
    };
    call.instrument(tracing::info_span!("call", peer = "inventory"))
        .await
}

async fn fail() -> StatusCode {
    StatusCode::BAD_GATEWAY
}
