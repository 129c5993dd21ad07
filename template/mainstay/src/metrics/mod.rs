//! Metrics in the text format of Prometheus: those of the machinery, and those of the service.
//!
//! A service counts with the macros of the crate `metrics`, anywhere:
//! `metrics::counter!("targets_added_total").increment(1)`.
//!
//! - The number of series depends on routes, tasks, checks and pools, and not on what clients send.
//! - Memory use stays constant, also if nothing scrapes the metrics.
//!
//! `catalog.rs` defines every metric of the machinery, and `docs/metrics.md` is generated from it.

#[cfg_attr(
    not(all(feature = "_database", feature = "idempotency", feature = "otlp")),
    allow(dead_code, reason = "it lists the metrics of all features")
)]
pub(crate) mod catalog;
mod histogram;
pub(crate) mod http;
mod own;
pub(crate) mod pools;
mod process;
mod runtime;
pub(crate) mod text;

use std::convert::Infallible;
use std::time::Duration;

use metrics_exporter_prometheus::BuildError;
use tokio::runtime::Handle;

pub use http::Recorder;

use crate::supervisor::{SpawnError, Supervisor};
use own::Own;
use text::Text;

/// The content type of [`Metrics::text`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of this process. All clones are the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: http::Recorder,
    own: Own,
    runtime: Handle,
}

/// How often the recorded values are aggregated: until then, each value of a histogram takes memory.
const TIDYING: Duration = Duration::from_secs(5);

impl Metrics {
    /// Installs the recorder of the process, and observes the current runtime.
    pub(crate) fn install() -> Result<Self, BuildError> {
        Ok(Self {
            requests: http::Recorder::new(),
            own: Own::install()?,
            runtime: Handle::current(),
        })
    }

    /// Records requests, for [`edge::protect`](crate::edge::protect).
    #[must_use]
    pub fn requests(&self) -> http::Recorder {
        self.requests
    }

    /// Starts the task that aggregates values, so that memory use stays constant.
    pub(crate) fn spawn_maintenance(&self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let own = self.own.clone();
        let tending = supervisor.every("metrics", TIDYING).run(move |_| {
            own.tidy();
            async { Ok::<_, Infallible>(()) }
        });
        tending.map(drop)
    }

    /// The current values of all metrics.
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
