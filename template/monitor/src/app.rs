//! Your service: what it is for. It uses the frame; the frame knows nothing of it.
//!
//! The example watches over targets, which are URLs: they can be added, listed, changed and removed,
//! and are asked once in a while whether they are up; whoever wants to know when that changes is told.

mod changes;
mod checks;
mod moment;
mod paging;
mod settings;
mod summary;
mod targets;
#[cfg(test)]
mod watched;
mod web;

use std::error::Error;
use std::time::Duration;

use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::frame::Frame;
use crate::frame::database::Database;
use crate::frame::together::{Failures, Together};

pub use settings::Settings;

/// What is to be said of the API as a whole. Each route says the rest.
#[derive(OpenApi)]
#[openapi(
    info(title = "Targets", description = "The URLs that are watched."),
    tags(
        (name = "targets", description = "URLs, which can be added, listed, changed and removed"),
        (name = "checks", description = "Whether they are up, as it was found at each time"),
        (name = "changes", description = "When that has changed, as it happens"),
    )
)]
struct Api;

/// The longest that a start waits for what only makes the first answers quicker.
const WARMING: Duration = Duration::from_millis(500);

/// Starts what works in the background, and gives every route.
///
/// # Errors
///
/// When something cannot be started: then the whole service is not.
pub async fn start(
    settings: &Settings,
    frame: &Frame,
) -> Result<OpenApiRouter, Box<dyn Error + Send + Sync>> {
    let (database, keys) = (frame.database.clone(), frame.keys.clone());
    let targets = targets::Targets::new(database, keys, &settings.monitor);
    frame.lifecycle.waits_for("a first look at the data");
    look(&frame.database).await?;
    frame.lifecycle.waits_for("tasks");
    let changes = changes::start(&settings.changes, settings.checks.retention(), frame).await?;
    let checks = checks::start(&settings.checks, settings.frame.shutdown.tasks, frame)?;
    let summary = summary::Summary::start(settings.summary, frame)?;
    Together::new()
        .wants("a first summary", WARMING, summary.warm())
        .done()
        .await?;
    let summary = summary::routes(summary);
    let api = OpenApiRouter::with_openapi(Api::openapi());
    let targets = targets::routes(targets);
    let routes = targets.merge(checks).merge(changes).merge(summary);
    Ok(api.nest("/v1", routes))
}

/// Looks at all that the service needs, at once: what is not as it must be, such as a table that was changed by
/// hand, ends the start, and is not found by the first who asks for something.
async fn look(database: &Database) -> Result<(), Failures> {
    Together::new()
        .needs("the targets", targets::look(database))
        .needs("the schedule of checks", checks::look(database))
        .done()
        .await
}

#[cfg(test)]
mod tests;
