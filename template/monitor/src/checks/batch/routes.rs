//! Batches over HTTP.

use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use garde::Validate;
use mainstay::input::Json;
use mainstay::problem::{Fault, MAX_FAULTS, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Batch, Batches, Checked, LONGEST, MOST, Missed, Outcome, Settings, numbers};
use crate::checks::allowance::Allowance;
use crate::timestamp::{Timestamp, millis};
use crate::web::parse_http_url;

pub(in crate::checks) fn routes(batches: Batches, allowance: Allowance) -> OpenApiRouter {
    let settings = batches.settings.clone();
    let mut routes = OpenApiRouter::new()
        .routes(routes!(check))
        .with_state((batches, allowance));
    describe(&settings, routes.get_openapi_mut());
    routes
}

/// URLs to check now.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct WantedBatch {
    /// Each begins with `http://` or `https://`, without user and password.
    #[garde(skip)]
    #[schema(value_type = Vec<BatchUrl>, min_items = 1)]
    urls: Vec<String>,
    /// After this many URLs that are down or could not be checked, the rest is given up.
    #[garde(range(min = 1, max = MOST))]
    #[schema(minimum = 1, maximum = 10_000)]
    max_failures: Option<usize>,
    /// The timeout of each URL, with all its attempts. The time limit of the request applies to all of them.
    #[garde(range(min = 1, max = LONGEST))]
    #[schema(minimum = 1, maximum = 3600)]
    timeout_seconds: Option<u64>,
}

/// An HTTP or HTTPS URL.
#[derive(ToSchema)]
#[schema(
    max_length = 2048,
    format = "uri",
    pattern = "^https?://[^/?#@]+([/?#].*)?$",
    example = "https://example.org/"
)]
#[expect(dead_code, reason = "only its description is used")]
struct BatchUrl(String);

impl WantedBatch {
    /// Fills in the defaults, and checks the limits of the settings.
    pub(super) fn within(self, settings: &Settings) -> Result<Batch, Problem> {
        let (count, most) = (self.urls.len(), settings.max_batch);
        if !(1..=most).contains(&count) {
            let words = format!("has {count} URLs, and must have from 1 to {most}");
            return Err(Problem::INVALID.with([Fault::in_body("/urls", words)]));
        }
        let mut urls = Vec::with_capacity(count);
        let mut faults = Vec::new();
        for (index, url) in self.urls.iter().enumerate() {
            match parse_http_url(url) {
                Ok(url) => urls.push(url),
                Err(words) => faults.push(Fault::in_body(format!("/urls/{index}"), words)),
            }
            if faults.len() >= MAX_FAULTS {
                break;
            }
        }
        if !faults.is_empty() {
            return Err(Problem::INVALID.with(faults));
        }
        let timeout = self.timeout_seconds.map(Duration::from_secs);
        Ok(Batch {
            urls,
            timeout: timeout.unwrap_or(settings.batch_timeout),
            max_failures: self.max_failures.unwrap_or(usize::MAX),
        })
    }
}

/// The outcome of each URL, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchReport {
    checks: Vec<BatchEntry>,
    totals: BatchTotals,
}

/// The outcome of one URL: a `result`, or an `error`.
#[derive(Debug, Serialize, ToSchema)]
struct BatchEntry {
    /// The normalized URL: without a fragment, and with a path.
    #[schema(format = "uri", example = "https://example.org/")]
    url: String,
    #[serde(flatten)]
    end: BatchEnd,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BatchEnd {
    Result(BatchResult),
    Error(BatchError),
}

/// The result of a check.
#[derive(Debug, Serialize, ToSchema)]
struct BatchResult {
    checked_at: Timestamp,
    is_up: bool,
    /// Why it is down, as in the checks of a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "timeout")]
    reason: Option<&'static str>,
    /// The status of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u16, required = false, example = 200)]
    status: Option<u16>,
    /// How long the check took, in milliseconds.
    #[schema(minimum = 0, example = 31)]
    latency_ms: i64,
}

/// Why there is no result: `given_up`, after `max_failures` others had failed; `not_in_time`, when the time
/// of the request was over; `failed`, after an internal error.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BatchError {
    GivenUp,
    NotInTime,
    Failed,
}

/// The number of URLs with each outcome.
#[derive(Debug, Default, Serialize, ToSchema)]
struct BatchTotals {
    #[schema(minimum = 0)]
    up: u32,
    #[schema(minimum = 0)]
    down: u32,
    #[schema(minimum = 0)]
    given_up: u32,
    #[schema(minimum = 0)]
    not_in_time: u32,
    #[schema(minimum = 0)]
    failed: u32,
}

impl BatchReport {
    fn of(batch: Batch, outcomes: Vec<Outcome>) -> Self {
        let mut totals = BatchTotals::default();
        for outcome in &outcomes {
            totals.count(outcome);
        }
        let checks = batch.urls.into_iter().zip(outcomes);
        let checks = checks.map(|(url, outcome)| BatchEntry {
            url: url.into(),
            end: outcome.into(),
        });
        Self {
            checks: checks.collect(),
            totals,
        }
    }
}

impl From<Outcome> for BatchEnd {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Checked(Checked { at, verdict }) => Self::Result(BatchResult {
                checked_at: at,
                is_up: verdict.is_up(),
                reason: verdict.reason(),
                status: verdict.status().map(|status| status.as_u16()),
                latency_ms: millis(verdict.latency()),
            }),
            Outcome::Missed(missed) => Self::Error(match missed {
                Missed::GivenUp => BatchError::GivenUp,
                Missed::NotInTime => BatchError::NotInTime,
                Missed::Failed => BatchError::Failed,
            }),
        }
    }
}

impl BatchTotals {
    fn count(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Checked(checked) if checked.verdict.is_up() => &mut self.up,
            Outcome::Checked(_) => &mut self.down,
            Outcome::Missed(Missed::GivenUp) => &mut self.given_up,
            Outcome::Missed(Missed::NotInTime) => &mut self.not_in_time,
            Outcome::Missed(Missed::Failed) => &mut self.failed,
        } += 1;
    }

    fn tell(&self) {
        numbers::asked("up", self.up);
        numbers::asked("down", self.down);
        numbers::asked("given_up", self.given_up);
        numbers::asked("not_in_time", self.not_in_time);
        numbers::asked("failed", self.failed);
    }
}

/// Checks URLs now
///
/// Each URL has its own answer, in the order of the request, and no result is stored. Checks that do not
/// finish within the time limit of the request are `not_in_time`. A batch takes as much of the client's rate
/// limit as it has URLs.
#[utoipa::path(post, path = "/checks", operation_id = "check_now", tag = "checks",
    request_body = WantedBatch,
    responses(
        (status = OK, description = "The outcome of each URL", body = BatchReport),
        (status = TOO_MANY_REQUESTS, description = "`too_many_requests`: this client has requested too many checks"),
    ))]
async fn check(
    State((batches, allowance)): State<(Batches, Allowance)>,
    Json(wanted): Json<WantedBatch>,
) -> Result<impl IntoResponse, Problem> {
    let batch = wanted.within(&batches.settings)?;
    allowance.take(batch.urls.len())?;
    let outcomes = batches.check(&batch).await;
    let report = BatchReport::of(batch, outcomes);
    report.totals.tell();
    Ok(Json(report))
}

/// Adds the limits of this process to the description.
fn describe(settings: &Settings, api: &mut OpenApi) {
    let schemas = api.components.iter_mut().flat_map(|it| &mut it.schemas);
    let wanted = schemas.filter(|(name, _)| *name == "WantedBatch");
    for (_, schema) in wanted {
        let RefOr::T(Schema::Object(batch)) = schema else {
            continue;
        };
        if let Some(RefOr::T(Schema::Array(urls))) = batch.properties.get_mut("urls") {
            urls.max_items = Some(settings.max_batch);
        }
        if let Some(RefOr::T(Schema::Object(timeout))) = batch.properties.get_mut("timeout_seconds")
        {
            timeout.default = Some(settings.batch_timeout.as_secs().into());
        }
    }
}
