//! Your service: what it is for. It uses the frame; the frame knows nothing of it.
//!
//! So far it greets its guests, and remembers how often: one route, one table, one setting.

mod hello;
mod settings;

use axum::Router;

use crate::frame::database::Database;

pub use settings::Settings;

/// Every route of the service.
pub fn routes(settings: &Settings, database: &Database) -> Router {
    let guests = hello::Guests::new(database.pool().clone());
    Router::new().nest("/v1", hello::routes(settings.hello.clone(), guests))
}
