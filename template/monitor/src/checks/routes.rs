//! What has become of a target's checks, over HTTP, and the wish for one more.

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
use super::schedule::{Schedule, Wish};
use crate::moment::Moment;
use crate::paging::{Cursor, Part};

/// What the routes work with.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) history: History,
    pub(super) schedule: Schedule,
    pub(super) allowance: Allowance,
}

pub(super) fn routes(checked: Checked) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, ask))
        .routes(routes!(export))
        .with_state(checked)
}

/// The results of a target's checks, as far as they fit on a page.
#[derive(Debug, Serialize, ToSchema)]
struct CheckPage {
    checks: Vec<Check>,
    /// The `cursor` of the next page, if there is one.
    #[schema(value_type = String, required = false, example = "0000000000000032")]
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Cursor>,
}

/// How a check came out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Check {
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

/// Lists the checks of a target
#[utoipa::path(get, path = "/targets/{id}/checks", operation_id = "list_checks", tag = "checks",
    params(("id" = i64, Path, description = "The number of the target"), Part),
    responses(
        (status = OK, description = "A page of them, the newest first", body = CheckPage,
            headers(("link" = String, description = "The path of the next page, as `rel=\"next\"`, if there is one"))),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn list(
    State(checked): State<Checked>,
    Path(target): Path<i64>,
    Query(part): Query<Part>,
) -> Result<impl IntoResponse, Problem> {
    let page = checked.history.page(target, part).await?;
    if page.elements.is_empty() && !checked.history.knows(target).await? {
        return Err(Problem::NOT_FOUND);
    }
    let link = page.link(&format!("/v1/targets/{target}/checks"));
    let next = page.next;
    let checks = page.elements.into_iter().map(Check::from).collect();
    Ok((link, Json(CheckPage { checks, next })))
}

/// Gives all kept checks of a target
///
/// One JSON object a line, the newest first. It is sent as it is read: an answer that ends without its last
/// line being whole, or by a broken connection, is not all there is.
#[utoipa::path(get, path = "/targets/{id}/checks.ndjson", operation_id = "export_checks", tag = "checks",
    params(("id" = i64, Path, description = "The number of the target"), Span),
    responses(
        (status = OK, description = "All of them", body = Check, content_type = NDJSON),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn export(
    State(checked): State<Checked>,
    Path(target): Path<i64>,
    Query(span): Query<Span>,
) -> Result<impl IntoResponse, Problem> {
    let export = Export::begin(checked.history.clone(), target, span).await?;
    if export.is_empty() && !checked.history.knows(target).await? {
        return Err(Problem::NOT_FOUND);
    }
    let kind = [(header::CONTENT_TYPE, NDJSON)];
    Ok((kind, Body::from_stream(export.lines())))
}

const NDJSON: &str = "application/x-ndjson";

const SWITCHED_OFF: Problem = Problem::new(
    StatusCode::CONFLICT,
    "switched_off",
    "This target is switched off",
);

/// Asks for a check now
#[utoipa::path(post, path = "/targets/{id}/checks", operation_id = "ask_for_check", tag = "checks",
    params(("id" = i64, Path, description = "The number of the target")),
    responses(
        (status = ACCEPTED, description = "It is checked before all that are only due"),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
        (status = CONFLICT, description = "`switched_off`: it is not `enabled`, and not checked at all"),
        (status = TOO_MANY_REQUESTS, description = "`too_many_requests`: this client has asked for very many checks, and is to wait"),
    ))]
async fn ask(
    State(checked): State<Checked>,
    Path(target): Path<i64>,
) -> Result<impl IntoResponse, Problem> {
    checked.allowance.take(1)?;
    if !checked.history.knows(target).await? {
        return Err(Problem::NOT_FOUND);
    }
    match checked.schedule.wish(target, Moment::now()).await? {
        Wish::Granted | Wish::UnderWay => Ok(StatusCode::ACCEPTED),
        Wish::NoRoom => Err(Problem::OVERLOADED),
        Wish::SwitchedOff => Err(SWITCHED_OFF),
    }
}
