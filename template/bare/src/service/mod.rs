//! Your service: what it is for. It uses the frame; the frame knows nothing of it.
//!
//! So far it greets its guests, and remembers how often: one route, one table, one setting.

mod hello;
mod settings;

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
    let guests = hello::Guests::new(frame.database.clone());
    let routes = hello::routes(settings.hello.clone(), guests);
    Ok(Router::new().nest("/v1", routes))
}
