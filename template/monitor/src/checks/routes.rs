//! The results of a target's checks over HTTP, and the request for a check now.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use mainstay::input::{Json, Path, Query};
use mainstay::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::allowance::Allowance;
use super::export::{Export, Span};
use super::history::{History, Kept};
use super::schedule::{Requested, Schedule};
use crate::paging::{Cursor, Part};
use crate::timestamp::Timestamp;

/// The state of the routes.
#[derive(Debug, Clone)]
pub(super) struct RouteState {
    pub(super) history: History,
    pub(super) schedule: Schedule,
    pub(super) allowance: Allowance,
}

pub(super) fn routes(state: RouteState) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, ask))
        .routes(routes!(export))
        .with_state(state)
}

/// A page of the results of a target's checks.
#[derive(Debug, Serialize, ToSchema)]
struct CheckPage {
    checks: Vec<Check>,
    /// The `cursor` of the next page, if there is one.
    #[schema(value_type = String, required = false, example = "0000000000000032")]
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Cursor>,
}

/// The result of a check.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Check {
    /// When it was due.
    due_at: Timestamp,
    /// When it was made.
    checked_at: Timestamp,
    is_up: bool,
    /// Why the target is down: `status`, or why there was no response (`dns`, `connect`, `tls`, `timeout`,
    /// `broken`, `protocol`, `too_many_redirects`, `refused_address`) or no request (`host_down`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "timeout")]
    reason: Option<String>,
    /// The status of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u16, required = false, example = 200)]
    status: Option<i32>,
    /// How long the check took, in milliseconds.
    #[schema(minimum = 0, example = 31)]
    latency_ms: i32,
}

impl From<Kept> for Check {
    fn from(kept: Kept) -> Self {
        Self {
            due_at: Timestamp(kept.due_at),
            checked_at: Timestamp(kept.checked_at),
            is_up: kept.reason.is_none(),
            reason: kept.reason,
            status: kept.status,
            latency_ms: kept.latency_ms,
        }
    }
}

/// Lists the checks of a target
#[utoipa::path(get, path = "/targets/{id}/checks", operation_id = "list_checks", tag = "checks",
    params(("id" = i64, Path, description = "The id of the target"), Part),
    responses(
        (status = OK, description = "A page of checks, the newest first", body = CheckPage,
            headers(("link" = String, description = "The path of the next page, as `rel=\"next\"`, if there is one"))),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn list(
    State(state): State<RouteState>,
    Path(target): Path<i64>,
    Query(part): Query<Part>,
) -> Result<impl IntoResponse, Problem> {
    let page = state.history.page(target, part).await?;
    if page.elements.is_empty() && !state.history.knows(target).await? {
        return Err(Problem::NOT_FOUND);
    }
    let link = page.link(&format!("/v1/targets/{target}/checks"));
    let next = page.next;
    let checks = page.elements.into_iter().map(Check::from).collect();
    Ok((link, Json(CheckPage { checks, next })))
}

/// Exports all stored checks of a target
///
/// One JSON object a line, the newest first. The response is sent while it is read. If its last line is
/// incomplete, or the connection breaks, it is not complete.
#[utoipa::path(get, path = "/targets/{id}/checks.ndjson", operation_id = "export_checks", tag = "checks",
    params(("id" = i64, Path, description = "The id of the target"), Span),
    responses(
        (status = OK, description = "The checks", body = Check, content_type = NDJSON),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn export(
    State(state): State<RouteState>,
    Path(target): Path<i64>,
    Query(span): Query<Span>,
) -> Result<impl IntoResponse, Problem> {
    let export = Export::begin(state.history.clone(), target, span).await?;
    if export.is_empty() && !state.history.knows(target).await? {
        return Err(Problem::NOT_FOUND);
    }
    let kind = [(header::CONTENT_TYPE, NDJSON)];
    Ok((kind, Body::from_stream(export.lines())))
}

const NDJSON: &str = "application/x-ndjson";

const SWITCHED_OFF: Problem = Problem::new(
    StatusCode::CONFLICT,
    "switched_off",
    "This target is disabled",
);

/// Requests a check now
#[utoipa::path(post, path = "/targets/{id}/checks", operation_id = "ask_for_check", tag = "checks",
    params(("id" = i64, Path, description = "The id of the target")),
    responses(
        (status = ACCEPTED, description = "The check is queued before scheduled ones, or running already"),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
        (status = CONFLICT, description = "`switched_off`: the target is not `enabled`"),
        (status = TOO_MANY_REQUESTS, description = "`too_many_requests`: this client has requested too many checks"),
    ))]
async fn ask(
    State(state): State<RouteState>,
    Path(target): Path<i64>,
) -> Result<impl IntoResponse, Problem> {
    state.allowance.take(1)?;
    if !state.history.knows(target).await? {
        return Err(Problem::NOT_FOUND);
    }
    match state.schedule.request(target, Timestamp::now()).await? {
        Requested::Queued | Requested::Running => Ok(StatusCode::ACCEPTED),
        Requested::QueueFull => Err(Problem::OVERLOADED),
        Requested::Disabled => Err(SWITCHED_OFF),
    }
}
