//! Your service: what it is for. It uses the frame; the frame knows nothing of it.
//!
//! The example watches over targets, which are URLs: they can be added, listed and removed.

mod settings;
mod targets;

use std::error::Error;

use axum::Router;

use crate::frame::Frame;

pub use settings::Settings;

/// Starts what works in the background, and gives every route.
///
/// # Errors
///
/// When something cannot be started: then the whole service is not.
#[expect(
    clippy::unused_async,
    reason = "a task that must have started is waited for"
)]
pub async fn start(
    settings: &Settings,
    frame: &Frame,
) -> Result<Router, Box<dyn Error + Send + Sync>> {
    let (database, keys) = (frame.database.clone(), frame.keys.clone());
    let targets = targets::Targets::new(database, keys, settings.monitor.max_targets);
    Ok(Router::new().nest("/v1", targets::routes(targets)))
}
