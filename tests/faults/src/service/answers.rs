//! Handlers that answer late, in pieces, by a panic, with what the database makes of a value, or never.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde::Deserialize;

use crate::frame::database::Database;
use crate::frame::problem::Problem;

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
    // For tests that act once the request is in its handler.
    tracing::info!("slow begun");
    tokio::time::sleep(Duration::from_millis(slowness.ms)).await;
    "done"
}

async fn never() {
    tracing::info!("never begun");
    std::future::pending().await
}

/// A line now and then.
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

/// As many bytes as are asked for, as fast as they are taken.
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

/// Reads the body by itself, and takes what goes wrong there for a fault of its own.
async fn raw(body: Body) -> Result<String, StatusCode> {
    let mut stream = body.into_data_stream();
    let mut length = 0;
    while let Some(piece) = stream.next().await {
        length += piece.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.len();
    }
    Ok(length.to_string())
}

/// Has all of the request by then.
async fn panics(_body: Bytes) {
    panic!("a handler that panics")
}

/// On Postgres, a value that is no UUID is refused with the value.
async fn cast(
    State(database): State<Database>,
    Query(Wanted { value }): Query<Wanted>,
) -> Result<String, Problem> {
    let query = sqlx::query_scalar("SELECT CAST(CAST($1 AS uuid) AS text)").bind(value);
    Ok(query.fetch_one(database.read()).await?)
}

/// On SQLite, a value that is no path is a mistake of the statement, which is told with the value.
async fn pick(
    State(database): State<Database>,
    Query(Wanted { value }): Query<Wanted>,
) -> Result<String, Problem> {
    let query = sqlx::query_scalar("SELECT json_extract('{}', $1)").bind(value);
    Ok(query.fetch_one(database.read()).await?)
}

/// For tests of what is logged.
async fn say() {
    tracing::debug!("said");
}

/// For tests of how much is logged: an event of so many bytes.
async fn shout(Query(size): Query<Size>) {
    tracing::info!(text = "x".repeat(size.bytes), "shouted");
}
