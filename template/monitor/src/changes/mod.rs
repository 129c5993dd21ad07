//! Changes: a target went down, or came up again. Each change is announced once, and clients can follow the
//! announcements.
//!
//! | module | part |
//! |---|---|
//! | [`store`] | the current state of each target, and the announced changes |
//! | [`announcer`] | announces a state that has lasted for `monitor.settle` |
//! | [`feed`] | reads the announcements of all processes, once for all streams of this process |
//! | [`stream`] | the events of one stream |
//! | [`routes`] | the HTTP endpoint |
//!
//! - The first state of a target is announced as well. A client that follows from the first change knows the
//!   state of every target.
//! - A target that changes and changes back within `monitor.settle` has not changed. A target that always
//!   flaps is never announced.
//! - With several processes, one of them announces a change, and all of them stream it. A killed process
//!   loses nothing: pending and announced changes are in the database.
//! - The process that holds the lease of a check writes the result and the state in one transaction. So an
//!   older result never overwrites a newer state.

mod announcer;
mod feed;
mod numbers;
mod routes;
mod store;
mod stream;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use garde::Validate;
use mainstay::supervisor::Supervisor;
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;

use crate::settings::Database;
use announcer::Announcer;
use feed::Feed;
use store::Changes;

pub(super) use store::{Observed, observe};

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(crate) struct Settings {
    settle: Duration,
    #[garde(range(min = 1, max = 100_000))]
    max_streams: usize,
}

/// Starts the tasks, and returns the routes. Changes are stored for as long as results.
pub(super) async fn start(
    settings: &Settings,
    retention: Duration,
    supervisor: &Supervisor,
    database: &Database,
) -> Result<OpenApiRouter, Box<dyn Error + Send + Sync>> {
    numbers::describe();
    let changes = Changes::new(database.clone());
    announcer::spawn_retention(supervisor, changes.clone(), retention)?;
    Announcer::new(changes.clone(), settings.settle).spawn(supervisor)?;
    let feed = Feed::from_now(changes).await?;
    feed.spawn(supervisor)?;
    let permits = Arc::new(Semaphore::new(settings.max_streams));
    Ok(routes::routes(routes::RouteState { feed, permits }))
}

#[cfg(test)]
mod tests;
