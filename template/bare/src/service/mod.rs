//! Your service: what it is for. It uses the frame; the frame knows nothing of it.
//!
//! So far it greets its guests, and remembers how often: one route, one table, one task, one metric.

mod hello;
mod settings;

use std::error::Error;

use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::frame::Frame;

pub use settings::Settings;

/// What is to be said of the API as a whole. Each route says the rest.
#[derive(OpenApi)]
#[openapi(
    info(title = "Hello", description = "Greetings, counted."),
    tags((name = "hello", description = "Guests, who are greeted by name"))
)]
struct Api;

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
) -> Result<OpenApiRouter, Box<dyn Error + Send + Sync>> {
    let guests = hello::Guests::new(frame.database.clone());
    guests.forgotten_by(&frame.supervisor, settings.hello.forget_after)?;
    let routes = hello::routes(settings.hello.clone(), guests);
    let api = OpenApiRouter::with_openapi(Api::openapi());
    Ok(api.nest("/v1", routes))
}
