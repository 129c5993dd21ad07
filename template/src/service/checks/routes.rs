//! What has become of a target's checks, over HTTP, and the wish for one more.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::history::{History, Kept};
use super::schedule::{Schedule, Wish};
use crate::frame::input::{Json, Path, Query};
use crate::frame::problem::Problem;
use crate::service::moment::Moment;

/// What the routes work with.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) history: History,
    pub(super) schedule: Schedule,
}

pub(super) fn routes(checked: Checked) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, ask))
        .with_state(checked)
}

/// The results of a target's checks, as far as they fit on a page.
#[derive(Debug, Serialize, ToSchema)]
struct CheckPage {
    checks: Vec<Check>,
    /// What the next page comes `before`; not there on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false, example = 1_767_225_600_000_i64)]
    next: Option<i64>,
}

/// How a check came out.
#[derive(Debug, Serialize, ToSchema)]
struct Check {
    /// When it was to be made, …
    due_at: Moment,
    /// … and when it was.
    checked_at: Moment,
    is_up: bool,
    /// Why it is down: `status`, or why there was no answer (`dns`, `connect`, `tls`, `timeout`, `broken`,
    /// `protocol`, `too_many_redirects`, `refused_address`), or was not asked for (`host_down`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "timeout")]
    reason: Option<String>,
    /// The status of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u16, required = false, example = 200)]
    status: Option<i32>,
    /// How long it took, in milliseconds.
    #[schema(minimum = 0, example = 31)]
    latency_ms: i32,
}

impl From<Kept> for Check {
    fn from(kept: Kept) -> Self {
        Self {
            due_at: Moment(kept.due_at),
            checked_at: Moment(kept.checked_at),
            is_up: kept.reason.is_none(),
            reason: kept.reason,
            status: kept.status,
            latency_ms: kept.latency_ms,
        }
    }
}

/// Which part of them.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct Part {
    /// Those that were due before this: the `next` of the page before it.
    #[garde(skip)]
    before: Option<i64>,
    /// The most that are wanted.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<i64>,
}

const A_PAGE: i64 = 50;

/// Lists the checks of a target
#[utoipa::path(get, path = "/targets/{id}/checks", operation_id = "list_checks", tag = "checks",
    params(("id" = i64, Path, description = "The number of the target"), Part),
    responses(
        (status = OK, description = "A page of them, the newest first", body = CheckPage),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn list(
    State(checked): State<Checked>,
    Path(target): Path<i64>,
    Query(part): Query<Part>,
) -> Result<impl IntoResponse, Problem> {
    let before = Moment(part.before.unwrap_or(i64::MAX));
    let limit = part.limit.unwrap_or(A_PAGE);
    // One more than is wanted tells whether there is another page.
    let mut kept = checked.history.page(target, before, limit + 1).await?;
    if kept.is_empty() && !checked.history.knows(target).await? {
        return Err(Problem::NOT_FOUND);
    }
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = kept.len() > wanted;
    kept.truncate(wanted);
    let next = kept.last().map(|last| last.due_at).filter(|_| has_more);
    let checks = kept.into_iter().map(Check::from).collect();
    Ok(Json(CheckPage { checks, next }))
}

/// Asks for a check now
#[utoipa::path(post, path = "/targets/{id}/checks", operation_id = "ask_for_check", tag = "checks",
    params(("id" = i64, Path, description = "The number of the target")),
    responses(
        (status = ACCEPTED, description = "It is checked before all that are only due"),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn ask(
    State(checked): State<Checked>,
    Path(target): Path<i64>,
) -> Result<impl IntoResponse, Problem> {
    if !checked.history.knows(target).await? {
        return Err(Problem::NOT_FOUND);
    }
    match checked.schedule.wish(target, Moment::now()).await? {
        Wish::Granted | Wish::UnderWay => Ok(StatusCode::ACCEPTED),
        Wish::NoRoom => Err(Problem::OVERLOADED),
    }
}
