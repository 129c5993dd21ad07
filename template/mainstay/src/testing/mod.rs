//! What the tests of a service need, and those of this crate: a database for each test, the real
//! binary, a client for it, and metrics that are read as Prometheus reads them.
//!
//! It is there with the feature `testing`, which belongs in `[dev-dependencies]`. A function of this
//! module fails a test by panicking.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a test may block, and fails by panicking: the thread is its own"
)]

mod exposition;
#[cfg(feature = "_database")]
mod fixtures;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "_database")]
mod scratch;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use exposition::{Exposition, documented};
#[cfg(feature = "_database")]
pub use fixtures::database_settings;
#[cfg(feature = "_database")]
pub use scratch::{Scratch, TestEngine};
