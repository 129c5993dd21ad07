//! Targets: the URLs that are watched. Clients add, list, read, change and remove them.
//!
//! - Lists are paginated. A target that exists during the whole iteration is listed exactly once.
//! - A change names the version that it applies to, so that no client overwrites the change of another.
//! - A URL is watched once, in whatever notation it is given.
//!
//! This file has the routes, `target.rs` the rules of a target, and `store.rs` the SQL.

mod settings;
mod store;
mod target;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use mainstay::idempotency::{self, Once};
use mainstay::input::{Json, Path, Query};
use mainstay::precondition::{IfMatch, IfNoneMatch};
use mainstay::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::paging::{Cursor, Part};
use crate::settings::Transaction;

use target::{Target, WantedTarget};

pub(super) use settings::Monitor;
pub(super) use store::{Targets, ensure_readable};

pub(super) fn routes(targets: Targets) -> OpenApiRouter {
    let bounds = targets.bounds().clone();
    let mut routes = OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, replace, remove))
        .with_state(targets);
    bounds.describe(routes.get_openapi_mut());
    routes
}

/// The path of a target.
fn path(id: i64) -> String {
    format!("/v1/targets/{id}")
}

/// A page of targets.
#[derive(Debug, Serialize, ToSchema)]
struct TargetPage {
    targets: Vec<Target>,
    /// The `cursor` of the next page, if there is one.
    #[schema(value_type = String, required = false, example = "0000000000000032")]
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Cursor>,
}

/// Lists targets, the oldest first
#[utoipa::path(get, path = "/targets", operation_id = "list_targets", tag = "targets",
    params(Part),
    responses((status = OK, description = "A page of targets", body = TargetPage,
        headers(("link" = String, description = "The path of the next page, as `rel=\"next\"`, if there is one")))))]
async fn list(
    State(targets): State<Targets>,
    Query(part): Query<Part>,
) -> Result<impl IntoResponse, Problem> {
    let page = targets.page(part).await?;
    let link = page.link("/v1/targets");
    let (targets, next) = (page.elements, page.next);
    Ok((link, Json(TargetPage { targets, next })))
}

/// Adds a target
#[utoipa::path(post, path = "/targets", operation_id = "create_target", tag = "targets",
    params(idempotency::KeyHeader),
    request_body = WantedTarget,
    responses(
        (status = CREATED, description = "The added target", body = Target, headers(
            ("location" = String, description = "The path of the target"),
            ("etag" = String, description = "Its version"),
        )),
        (status = CONFLICT, description = "`already_watched`, or `too_many_targets`."),
    ))]
async fn create(
    State(targets): State<Targets>,
    once: Once<Json<WantedTarget>>,
) -> Result<Response, Problem> {
    let work = async |transaction: &mut Transaction, Json(wanted): Json<WantedTarget>| {
        let wanted = wanted.within(targets.bounds())?;
        let target = targets.add(transaction, &wanted).await?;
        let location = [(header::LOCATION, path(target.id))];
        Ok((StatusCode::CREATED, location, target.tag(), Json(target)))
    };
    let response = once.run(targets.keys(), work).await?;
    if response.status() == StatusCode::CREATED && !idempotency::is_replayed(&response) {
        metrics::counter!("targets_added_total").increment(1);
    }
    Ok(response)
}

/// Reads a target
#[utoipa::path(get, path = "/targets/{id}", operation_id = "read_target", tag = "targets",
    params(
        ("id" = i64, Path, description = "The id of the target"),
        ("if-none-match" = Option<String>, Header, nullable = false,
            description = "The `ETag` of the version that the client has. If it is the current one, the answer is 304, without a body."),
    ),
    responses(
        (status = OK, description = "The target", body = Target,
            headers(("etag" = String, description = "Its version"))),
        (status = NOT_MODIFIED, description = "The version is the one in `If-None-Match`",
            headers(("etag" = String, description = "Its version"))),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn read(
    State(targets): State<Targets>,
    Path(id): Path<i64>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let target = targets.get(id).await?;
    Ok(known.respond(target.tag(), Json(target)))
}

/// Replaces a target
///
/// A field that the body leaves out gets its default.
#[utoipa::path(put, path = "/targets/{id}", operation_id = "replace_target", tag = "targets",
    params(
        ("id" = i64, Path, description = "The id of the target"),
        ("if-match" = String, Header, example = "\"1\"",
            description = "The `ETag` of the version to change, so that no other change is lost; or `*` for any version."),
    ),
    request_body = WantedTarget,
    responses(
        (status = OK, description = "The changed target", body = Target,
            headers(("etag" = String, description = "Its new version"))),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
        (status = CONFLICT, description = "`already_watched`: another target has this URL"),
    ))]
async fn replace(
    State(targets): State<Targets>,
    Path(id): Path<i64>,
    expected: IfMatch,
    Json(wanted): Json<WantedTarget>,
) -> Result<impl IntoResponse, Problem> {
    let wanted = wanted.within(targets.bounds())?;
    loop {
        let target = targets.get(id).await?;
        expected.check(&target.tag())?;
        // Another request has changed it meanwhile: check the new version.
        if let Some(changed) = targets.replace(&target, &wanted).await? {
            return Ok((changed.tag(), Json(changed)));
        }
    }
}

/// Removes a target
#[utoipa::path(delete, path = "/targets/{id}", operation_id = "remove_target", tag = "targets",
    params(
        ("id" = i64, Path, description = "The id of the target"),
        ("if-match" = Option<String>, Header, nullable = false, example = "\"1\"",
            description = "The `ETag` of the version to remove; or `*` for any version."),
    ),
    responses(
        (status = NO_CONTENT, description = "The target is removed"),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn remove(
    State(targets): State<Targets>,
    Path(id): Path<i64>,
    expected: IfMatch,
) -> Result<impl IntoResponse, Problem> {
    loop {
        let target = targets.get(id).await?;
        expected.check_if_given(&target.tag())?;
        if targets.remove(&target).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
}

#[cfg(test)]
mod tests;
