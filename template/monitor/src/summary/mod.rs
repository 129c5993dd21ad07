//! A summary of all targets: their availability and latency.
//!
//! - It is computed from the stored checks, in chunks, on the [threads for computation](mainstay::cpu), in
//!   memory that does not grow with the number of checks ([`tally`]).
//! - It is computed once for all requests within `monitor.summary_fresh`. When the database is away or slow,
//!   the last summary is served, with `stale` and its time ([`flights`]).
//!
//! Removed targets and results older than `monitor.retention` are not included.

mod flights;
mod numbers;
mod tally;
mod window;

use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use garde::Validate;
use mainstay::cpu::{self, Cpu};
use mainstay::input::{Json, Query};
use mainstay::problem::Problem;
use mainstay::settings::within;
use mainstay::supervisor::{SpawnError, Supervisor};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::settings::Database;
use crate::timestamp::Timestamp;
use flights::{Flights, Unknown};
use tally::{Check, Figures, OfTarget, Tally};
use window::Window;

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Copy, Deserialize, Validate)]
pub(crate) struct Settings {
    #[garde(custom(within("1ms", "24h")))]
    summary_fresh: Duration,
    #[garde(custom(within("1ms", "24h")))]
    summary_wait: Duration,
}

/// The summaries. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Summary(Flights);

impl Summary {
    /// Starts the tasks that compute summaries.
    pub(super) fn start(
        settings: Settings,
        supervisor: &Supervisor,
        database: &Database,
        cpu: &Cpu,
    ) -> Result<Self, SpawnError> {
        numbers::describe();
        let source = Source {
            database: database.clone(),
            cpu: cpu.clone(),
        };
        let flights = Flights::start(supervisor, settings, move |window| {
            source.clone().make(window)
        })?;
        Ok(Self(flights))
    }

    /// Computes the default summary, so that the first request need not wait. The computation continues if
    /// the caller stops waiting.
    pub(super) async fn warm(&self) -> Result<(), Unknown> {
        self.0.fresh(Window::default()).await.map(drop)
    }
}

pub(super) fn routes(summary: Summary) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(read))
        .with_state(summary)
}

/// A summary of all targets.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Summary)]
struct Report {
    #[schema(inline)]
    window: Window,
    /// When it was computed.
    as_of: Timestamp,
    /// Whether a newer one should exist, and could not be computed.
    stale: bool,
    /// All checks of all targets.
    total: Figures,
    /// How many targets were checked.
    targets: usize,
    /// The targets with the lowest availability, then the highest latency: a hundred at most.
    worst: Vec<OfTarget>,
}

/// The parameters of a summary.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The time range until now; 24 hours by default.
    #[garde(skip)]
    #[param(inline, required = false)]
    #[serde(default)]
    window: Window,
}

/// Summarizes the checks of all targets
#[utoipa::path(get, path = "/summary", operation_id = "read_summary", tag = "checks",
    params(Wanted),
    responses(
        (status = OK, description = "The summary; the last one if there is no fresh one", body = Report),
    ))]
async fn read(
    State(summary): State<Summary>,
    Query(wanted): Query<Wanted>,
) -> Result<impl IntoResponse, Problem> {
    let report = summary.0.ask(wanted.window).await;
    let report = report.map_err(|Unknown| Problem::UNAVAILABLE)?;
    Ok(Json((*report).clone()))
}

/// The source of summaries.
#[derive(Debug, Clone)]
struct Source {
    database: Database,
    cpu: Cpu,
}

/// Why a summary could not be computed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error("{0}")]
    Cpu(#[from] cpu::Error),
}

/// The checks that one statement reads: few, so that it is short, and others can use the connection in
/// between.
const CHUNK: u16 = 10_000;

impl Source {
    async fn make(self, window: Window) -> Option<Report> {
        let made = self.count(window, Timestamp::now()).await;
        let told = |cause| tracing::warn!(%cause, %window, "a summary cannot be computed");
        made.map_err(told).ok()
    }

    async fn count(&self, window: Window, as_of: Timestamp) -> Result<Report, Failed> {
        let mut behind = (as_of.before(window.length()), i64::MAX);
        let mut tally = Tally::default();
        loop {
            let checks = self.read(behind, as_of).await?;
            let is_last = checks.len() < usize::from(CHUNK);
            if let Some(last) = checks.last() {
                behind = (last.due_at, last.target_id);
            }
            let count = move || {
                tally.add(&checks);
                tally
            };
            tally = self.cpu.run(count).await?;
            if is_last {
                break;
            }
        }
        let totals = self.cpu.run(|| tally.totals()).await?;
        Ok(Report {
            window,
            as_of,
            stale: false,
            total: totals.all,
            targets: totals.targets,
            worst: totals.worst,
        })
    }

    /// The next chunk of checks after this position.
    async fn read(
        &self,
        (due_at, target): (Timestamp, i64),
        until: Timestamp,
    ) -> Result<Vec<Check>, sqlx::Error> {
        let query = sqlx::query_as(
            "SELECT due_at, target_id, reason IS NULL AS is_up, latency_ms FROM checks
             WHERE (due_at, target_id) > ($1, $2) AND due_at <= $3
             ORDER BY due_at, target_id LIMIT $4",
        );
        let query = query.bind(due_at).bind(target).bind(until);
        let query = query.bind(i64::from(CHUNK));
        query.fetch_all(self.database.read()).await
    }
}

#[cfg(test)]
mod tests;
