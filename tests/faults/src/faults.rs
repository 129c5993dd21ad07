//! Deliberate faults: handlers that never answer, tasks that do not stop, checks that hang. The
//! machinery must withstand all of them.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these are the faults: threads that block, input that is not checked"
)]

mod checks;
mod connections;
mod handlers;
mod settings;
mod stalls;
mod tasks;
mod traces;

use axum::Router;
use mainstay::{Error, Process};
// For their features only: see Cargo.toml.
use {tower as _, tracing_subscriber as _};

use crate::settings::Database;

pub(crate) use settings::Faults;

/// Registers the faulty check, starts the faulty task, and returns every route.
pub(crate) async fn start(
    faults: &Faults,
    process: &Process,
    database: Database,
) -> Result<Router, Error> {
    checks::register(faults, process.health())?;
    let tasks = tasks::start(faults.task, process.supervisor()).await?;
    let routes = handlers::routes(database.clone())
        .merge(connections::routes())
        .merge(stalls::routes())
        .merge(traces::routes(database));
    Ok(routes.merge(tasks))
}
