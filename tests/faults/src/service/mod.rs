//! What a careless owner writes: handlers that never answer, tasks that do not stop, checks that
//! hang. The frame has to live with all of it.

mod answers;
mod checks;
mod pushes;
mod settings;
mod stalls;
mod tasks;

use std::error::Error;

use axum::Router;

use crate::frame::Frame;

pub use settings::Settings;

/// Starts whatever is wrong with this service, and gives its routes.
pub async fn start(
    settings: &Settings,
    frame: &Frame,
) -> Result<Router, Box<dyn Error + Send + Sync>> {
    let checks = checks::register(&settings.faults, &frame.health)?;
    let tasks = tasks::start(settings.faults.task, &frame.supervisor).await?;
    Ok(answers::routes()
        .merge(pushes::routes())
        .merge(stalls::routes())
        .merge(checks)
        .merge(tasks))
}
