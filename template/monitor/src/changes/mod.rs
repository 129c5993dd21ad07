//! Changes: a target that was up is down, or the other way round. Each is announced once, and can be
//! followed by whoever asks.
//!
//! | module | part |
//! |---|---|
//! | [`store`] | what is known of each target, what was announced of it, and for how long that is kept |
//! | [`announcer`] | when a change is one: after `monitor.settle` |
//! | [`feed`] | what was announced, by any process, for all who follow in this one |
//! | [`stream`] | what one of them is told |
//! | [`routes`] | how they ask for it |
//!
//! - The first that is found of a target is announced as well: whoever follows from the first change on
//!   knows of every target whether it is up.
//! - A target that turns and turns back within `monitor.settle` has not changed. One that never does
//!   anything else is never announced.
//! - With several processes, each change is announced by one of them, and all tell of it. Whatever ends a
//!   process, nothing is lost: what is to be announced, and what was, is in the database.
//! - What a result means for a target is written with it, in one transaction, and only by whoever has the
//!   lease of the check: so no older result undoes a newer one.

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

/// Starts all of it, and gives the routes. What was announced is kept for as long as results are.
pub(super) async fn start(
    settings: &Settings,
    retention: Duration,
    supervisor: &Supervisor,
    database: &Database,
) -> Result<OpenApiRouter, Box<dyn Error + Send + Sync>> {
    numbers::describe();
    let changes = Changes::new(database.clone());
    announcer::forget_by(supervisor, changes.clone(), retention)?;
    Announcer::new(changes.clone(), settings.settle).run_by(supervisor)?;
    let feed = Feed::from_now(changes).await?;
    feed.run_by(supervisor)?;
    let places = Arc::new(Semaphore::new(settings.max_streams));
    Ok(routes::routes(routes::Followed { feed, places }))
}

#[cfg(test)]
mod tests;
