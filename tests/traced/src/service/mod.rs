//! Your service: what it is for. It uses the frame; the frame knows nothing of it.
//!
//! The example, and besides calls whose traces are of interest.

mod calls;
mod changes;
mod checks;
mod moment;
mod paging;
mod settings;
mod summary;
mod targets;
mod web;

use std::error::Error;

use utoipa_axum::router::OpenApiRouter;

use crate::frame::Frame;

pub use settings::Settings;

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
    let calls = calls::routes(frame.database.clone());
    let changes = changes::start(&settings.changes, settings.checks.retention(), frame).await?;
    let checks = checks::start(&settings.checks, settings.frame.shutdown.tasks, frame)?;
    let summary = summary::routes(summary::Summary::start(settings.summary, frame)?);
    let routes = targets::routes(targets).merge(checks).merge(changes);
    let api = OpenApiRouter::new().nest("/v1", routes.merge(summary));
    Ok(api.merge(calls.into()))
}
