//! Handlers that answer late, in pieces, with a panic, with an error of the database, or never.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use mainstay::problem::Problem;
use serde::Deserialize;

use crate::settings::Database;

#[derive(Deserialize)]
struct Slowness {
    ms: u64,
}

#[derive(Deserialize)]
struct Pieces {
    chunks: u64,
    ms: u64,
}

#[derive(Deserialize)]
struct Size {
    bytes: usize,
}

#[derive(Deserialize)]
struct Wanted {
    value: String,
}

pub(super) fn routes(database: Database) -> Router {
    Router::new()
        .route("/cast", get(cast))
        .route("/pick", get(pick))
        .with_state(database)
        .route("/slow", get(slow))
        .route("/never", get(never))
        .route("/stream", get(pieces))
        .route("/big", get(big))
        .route("/upload", post(upload))
        .route("/raw", post(raw))
        .route("/panic", get(panics).post(panics))
        .route("/say", get(say))
        .route("/shout", get(shout))
}

async fn slow(Query(slowness): Query<Slowness>) -> &'static str {
    // Tests wait for this event to know that the request is in its handler.
    tracing::info!("slow begun");
    tokio::time::sleep(Duration::from_millis(slowness.ms)).await;
    "done"
}

async fn never() {
    tracing::info!("never begun");
    std::future::pending::<()>().await;
}

/// This many lines, with a pause between them.
async fn pieces(Query(Pieces { chunks, ms }): Query<Pieces>) -> Body {
    let lines = stream::unfold(0, move |sent| async move {
        if sent == chunks {
            return None;
        }
        if sent > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        Some((Ok::<_, std::io::Error>(format!("{sent}\n")), sent + 1))
    });
    Body::from_stream(lines)
}

/// This many bytes, as fast as the client reads them.
async fn big(Query(Size { bytes }): Query<Size>) -> Body {
    const PIECE: &[u8] = &[b'x'; 64 * 1024];
    Body::from_stream(stream::unfold(bytes, |left| async move {
        let piece = &PIECE[..left.min(PIECE.len())];
        (left > 0).then(|| {
            let sent = Ok::<_, std::io::Error>(Bytes::from_static(piece));
            (sent, left - piece.len())
        })
    }))
}

async fn upload(body: Bytes) -> String {
    body.len().to_string()
}

/// Reads the body piece by piece, and answers 500 when that fails.
async fn raw(body: Body) -> Result<String, StatusCode> {
    let mut stream = body.into_data_stream();
    let mut length = 0;
    while let Some(piece) = stream.next().await {
        length += piece.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.len();
    }
    Ok(length.to_string())
}

/// Panics after the whole request was received.
async fn panics(_body: Bytes) {
    panic!("a handler that panics")
}

/// On Postgres, the error for a value that is not a UUID contains the value.
async fn cast(
    State(database): State<Database>,
    Query(Wanted { value }): Query<Wanted>,
) -> Result<String, Problem> {
    let query = sqlx::query_scalar("SELECT CAST(CAST($1 AS uuid) AS text)").bind(value);
    Ok(query.fetch_one(database.read()).await?)
}

/// On SQLite, the error for a value that is not a path contains the value.
async fn pick(
    State(database): State<Database>,
    Query(Wanted { value }): Query<Wanted>,
) -> Result<String, Problem> {
    let query = sqlx::query_scalar("SELECT json_extract('{}', $1)").bind(value);
    Ok(query.fetch_one(database.read()).await?)
}

/// An event at DEBUG, for tests of the log filter.
async fn say() {
    tracing::debug!("said");
}

/// Logs an event of this size, for tests of the log buffer.
async fn shout(Query(size): Query<Size>) {
    tracing::info!(text = "x".repeat(size.bytes), "shouted");
}
