//! How it went with all targets: how available they were, and how quick.
//!
//! - It is made of what is kept of their checks, read a chunk at a time and counted on the [processor's
//!   threads](mainstay::cpu), in memory that does not grow with the number of checks ([`tally`]).
//! - It is made once for all who ask within `monitor.summary_fresh`. When the database is away or slow, the last
//!   one that is known is told, with `stale` and the time that it is of ([`flights`]).
//!
//! What was removed does not count, nor what is older than `monitor.retention`.

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
use mainstay::settings::{Check as Checked, Reader, Section};
use mainstay::supervisor::{SpawnError, Supervisor};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::moment::Moment;
use crate::settings::Database;
use flights::{Flights, Unknown};
use tally::{Check, Figures, OfTarget, Tally};
use window::Window;

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    fresh: Duration,
    wait: Duration,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            fresh: from.value("summary_fresh"),
            wait: from.value("summary_wait"),
        }
    }

    fn check(&self, check: &mut Checked<'_>) {
        let can_be = Duration::from_millis(1)..=Duration::from_hours(24);
        for (key, time) in [
            ("monitor.summary_fresh", self.fresh),
            ("monitor.summary_wait", self.wait),
        ] {
            let words = "must be from 1ms to 24h";
            check.that(can_be.contains(&time), &[key], words);
        }
    }
}

/// The summaries. All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Summary(Flights);

impl Summary {
    /// Starts the tasks that make them.
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

    /// Has the usual one made, so that the first who asks need not wait. Whoever gives up to wait for that
    /// has it made nevertheless.
    pub(super) async fn warm(&self) -> Result<(), Unknown> {
        self.0.fresh(Window::default()).await.map(drop)
    }
}

pub(super) fn routes(summary: Summary) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(read))
        .with_state(summary)
}

/// How it went with all targets.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Summary)]
struct Report {
    #[schema(inline)]
    window: Window,
    /// When it was made.
    as_of: Moment,
    /// Whether a newer one should be there, and could not be made.
    stale: bool,
    /// All checks of all targets.
    total: Figures,
    /// How many targets were checked.
    targets: usize,
    /// Those that were up the least, and of these the slowest first: a hundred at most.
    worst: Vec<OfTarget>,
}

/// What it is to be of.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How long until now: 24 hours, if nothing else is said.
    #[garde(skip)]
    #[param(inline, required = false)]
    #[serde(default)]
    window: Window,
}

/// Sums up the checks of all targets
#[utoipa::path(get, path = "/summary", operation_id = "read_summary", tag = "checks",
    params(Wanted),
    responses(
        (status = OK, description = "How it went: the last one that is known, if there is none that is fresh", body = Report),
    ))]
async fn read(
    State(summary): State<Summary>,
    Query(wanted): Query<Wanted>,
) -> Result<impl IntoResponse, Problem> {
    let report = summary.0.ask(wanted.window).await;
    let report = report.map_err(|Unknown| Problem::UNAVAILABLE)?;
    Ok(Json((*report).clone()))
}

/// What summaries are made of.
#[derive(Debug, Clone)]
struct Source {
    database: Database,
    cpu: Cpu,
}

/// Why one could not be made.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error("{0}")]
    Cpu(#[from] cpu::Error),
}

/// So many checks are read at once: that is quickly done, so that no statement takes long and others have
/// the connection in between.
const CHUNK: u16 = 10_000;

impl Source {
    async fn make(self, window: Window) -> Option<Report> {
        let made = self.count(window, Moment::now()).await;
        let told = |cause| tracing::warn!(%cause, %window, "a summary cannot be made");
        made.map_err(told).ok()
    }

    async fn count(&self, window: Window, as_of: Moment) -> Result<Report, Failed> {
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

    /// The next chunk of what was due behind this, until then.
    async fn read(
        &self,
        (due_at, target): (Moment, i64),
        until: Moment,
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
