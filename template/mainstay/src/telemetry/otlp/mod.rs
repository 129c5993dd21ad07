//! OTLP: traces and metrics for a collector of OpenTelemetry, by HTTP and protobuf.
//!
//! - What is exported as metrics is what `/metrics` shows, under the same names.
//! - Of traces, what belongs to requests that are followed: see `http.trace_ratio`.
//! - Nobody waits for the collector. While it is away, slow, or refuses, a bounded number of spans is
//!   kept, the newest; what is lost is counted. That it fails is told once, and so is that it works
//!   again.
//! - The stop ends with a last export, which has until the end of `shutdown.close`.
//!
//! All of it, the settings included, is there with the feature `otlp` only.
//!
//! `OTEL_…` variables are not read: every setting of this service is in config/default.toml.

mod settings;

mod collector;
mod export;
mod exposition;
mod layer;
mod messages;
mod protobuf;
mod queue;

pub(crate) use export::{Export, Spans, numbers};
pub(crate) use settings::Otlp;

/// The reference of `[otlp]`.
pub(crate) const SETTINGS: &str = include_str!("../../../config/otlp.toml");

/// What has become of what was to be exported, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) spans_sent: u64,
    pub(crate) spans_lost: u64,
    /// Exports of `traces` and of `metrics`: those that were taken, and those that were not.
    pub(crate) exports: [(&'static str, [u64; 2]); 2],
}
