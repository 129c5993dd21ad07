//! OTLP: the export of traces and metrics to an OpenTelemetry collector, by HTTP and protobuf.
//!
//! - The metrics are those of `/metrics`, under the same names.
//! - The traces are those of sampled requests: see `http.trace_ratio`.
//! - The service never waits for the collector. While the collector is away, slow, or refuses, the newest spans are
//!   kept up to a limit; lost spans are counted. The log has one event when the export fails, and one when it
//!   works again.
//! - The stop ends with a last export within `shutdown.close`.
//!
//! The environment variables `OTEL_…` are not read: all settings are those of the service.

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
