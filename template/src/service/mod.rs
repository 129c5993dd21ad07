//! Your service: what it is for. It uses the frame; the frame knows nothing of it.
//!
//! The example watches over targets, which are URLs: they can be added, listed and removed.

mod settings;
mod targets;

use axum::Router;

use crate::frame::database::Database;

pub use settings::Settings;

/// Every route of the service.
pub fn routes(settings: &Settings, database: &Database) -> Router {
    let targets = targets::Targets::new(database.pool().clone(), settings.monitor.max_targets);
    Router::new().nest("/v1", targets::routes(targets))
}
