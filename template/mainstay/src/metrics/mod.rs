//! Metrics in the text format of Prometheus: those of the machinery, and those of the service.
//!
//! A service counts with the macros of the crate `metrics`, anywhere:
//! `metrics::counter!("targets_added_total").increment(1)`.
//!
//! - The number of series depends on routes, tasks, checks and pools, and not on what clients send.
//! - Memory use stays constant, also if nothing scrapes the metrics: a histogram keeps counts, and no values.

#[cfg_attr(
    not(all(feature = "_database", feature = "idempotency", feature = "otlp")),
    allow(dead_code, reason = "it lists the metrics of all features")
)]
pub(crate) mod catalog;
mod histogram;
mod http;
pub(crate) mod pools;
mod process;
mod registry;
pub(crate) mod text;

use std::time::SystemTime;

use tokio::runtime::Handle;

pub use http::Recorder;

use registry::Registry;
use text::Text;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of this process. Clones share their state.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: Recorder,
    runtime: Handle,
    started: SystemTime,
}

impl Metrics {
    pub(crate) fn install() -> Self {
        Self {
            requests: Recorder::default(),
            registry: Registry::install(),
            runtime: Handle::current(),
            started: SystemTime::now(),
        }
    }

    /// Records requests, for [`edge::protect`](crate::edge::protect).
    #[must_use]
    pub fn requests(&self) -> Recorder {
        self.requests
    }

    /// The current values of all metrics. `observed` writes those that other parts of the process count.
    pub(crate) fn text(&self, observed: impl FnOnce(&mut Text)) -> String {
        let mut text = Text::default();
        self.requests.write(&mut text);
        observed(&mut text);
        process::write(&self.runtime, self.started, &mut text);
        self.registry.write(&mut text);
        text.into_string()
    }
}

#[cfg(test)]
mod tests;
