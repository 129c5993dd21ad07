//! The names of the spans of this crate. A sampled request has a span, and each of its statements on the
//! database has one.
//!
//! A service makes spans of its own with the macros of `tracing`. Inside of a sampled request, the feature
//! `otlp` exports them as well, if `log.filter` enables them.

/// A request.
pub(crate) const REQUEST: &str = "request";
/// A statement on the database.
#[cfg(any(feature = "_database", feature = "otlp"))]
pub(crate) const STATEMENT: &str = "statement";
