//! Metrics, in the text format of Prometheus: the frame's, and whatever the service counts itself.
//!
//! - What is counted elsewhere anyway is asked for when somebody looks. Only requests are recorded as
//!   they come, in [`http`].
//! - The service counts with the macros of the `metrics` crate, anywhere:
//!   `metrics::counter!("targets_added_total").increment(1)`.
//! - There are no more series than there are routes, tasks, checks and pools, whatever clients send.
//! - Memory stays flat, also if nobody ever looks.
//!
//! `catalog.rs` has every name that the frame uses, and `docs/metrics.md` is written from it.

pub mod catalog;
mod histogram;
pub mod http;
mod own;
pub(crate) mod pools;
mod process;
mod runtime;
pub(crate) mod text;

use std::convert::Infallible;
use std::time::Duration;

use metrics_exporter_prometheus::BuildError;
use tokio::runtime::Handle;

use crate::supervisor::{SpawnError, Supervisor};
use own::Own;
use text::Text;

/// The type of what [`Metrics::text`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of this process. All clones are the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: http::Recorder,
    own: Own,
    runtime: Handle,
}

/// How often what the macros have recorded is put in order: until then, each value of a histogram
/// takes memory of its own.
const TIDYING: Duration = Duration::from_secs(5);

impl Metrics {
    /// Records from now on, and looks at the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// When a histogram has no bounds.
    pub fn install() -> Result<Self, BuildError> {
        Ok(Self {
            requests: http::Recorder::new(),
            own: Own::install()?,
            runtime: Handle::current(),
        })
    }

    /// For the edge, which records requests.
    #[must_use]
    pub fn requests(&self) -> http::Recorder {
        self.requests
    }

    /// Keeps memory flat, also if nobody ever looks.
    ///
    /// # Errors
    ///
    /// When there is a task of this name already, or the stop has begun.
    pub fn spawn_maintenance(&self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let own = self.own.clone();
        let tending = supervisor.every("metrics", TIDYING).run(move |_| {
            own.tidy();
            async { Ok::<_, Infallible>(()) }
        });
        tending.map(drop)
    }

    /// Everything that is known just now.
    #[must_use]
    pub(crate) fn text(&self, others: impl FnOnce(&mut Text)) -> String {
        let mut text = Text::default();
        self.requests.write(&mut text);
        others(&mut text);
        runtime::write(&self.runtime, &mut text);
        process::write(&mut text);
        text.append(&self.own.text());
        text.into_string()
    }
}

#[cfg(test)]
mod tests;
