//! What a careless owner writes: handlers that never answer, tasks that do not stop, checks that
//! hang. The frame has to live with all of it.

mod answers;
mod needs;
mod pushes;
mod settings;
mod stalls;
mod tasks;

use std::error::Error;

use utoipa_axum::router::OpenApiRouter;

use crate::frame::Frame;

pub use settings::Settings;

/// Starts whatever is wrong with this service, and gives its routes.
pub async fn start(
    settings: &Settings,
    frame: &Frame,
) -> Result<OpenApiRouter, Box<dyn Error + Send + Sync>> {
    let needs = needs::register(&settings.faults, &frame.health)?;
    let tasks = tasks::start(settings.faults.task, &frame.supervisor).await?;
    let routes = answers::routes(frame.database.clone())
        .merge(pushes::routes())
        .merge(stalls::routes())
        .merge(needs)
        .merge(tasks);
    // None of them is described.
    Ok(routes.into())
}
