//! Handlers that block threads.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;
use tokio::runtime::Handle;

#[derive(Deserialize)]
struct Time {
    ms: u64,
}

pub(super) fn routes() -> Router {
    Router::new()
        .route("/spin", get(spin))
        .route("/stall", get(stall))
        .route("/blocking", get(blocking))
}

/// Blocks its own worker.
async fn spin(Query(time): Query<Time>) -> &'static str {
    tracing::info!("spin begun");
    thread::sleep(Duration::from_millis(time.ms));
    "done"
}

/// Blocks every worker of the runtime, all at the same time; answers before that.
async fn stall(Query(time): Query<Time>) -> StatusCode {
    let runtime = Handle::current();
    // From a thread of its own: a task that a worker spawns may have to wait for that worker.
    thread::spawn(move || {
        let workers = runtime.metrics().num_workers();
        let all = Arc::new(Barrier::new(workers));
        for _ in 0..workers {
            let all = Arc::clone(&all);
            runtime.spawn(async move {
                if all.wait().is_leader() {
                    tracing::info!("stall begun");
                }
                thread::sleep(Duration::from_millis(time.ms));
            });
        }
    });
    StatusCode::ACCEPTED
}

/// Starts blocking work that never ends.
async fn blocking() -> StatusCode {
    tokio::task::spawn_blocking(|| {
        tracing::info!("blocking begun");
        loop {
            thread::park();
        }
    });
    StatusCode::ACCEPTED
}
