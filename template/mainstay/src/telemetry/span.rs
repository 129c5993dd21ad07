//! Spans: what stands around a request that is followed, and around what is done for it.
//!
//! The frame makes two kinds of them. The service makes its own with the macros of `tracing`; inside
//! of a request that is followed they are exported like those of the frame, as far as `log.filter`
//! lets them be.

/// Around a request.
pub const REQUEST: &str = "request";
/// Around a statement on the database.
pub const STATEMENT: &str = "statement";
