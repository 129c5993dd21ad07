//! What the tests of a service need, and those of this crate: a database for each test, the real
//! binary, a client for it, and metrics that are read as Prometheus reads them.
//!
//! It is there with the feature `testing`, which belongs in `[dev-dependencies]`. A function of this
//! module fails a test by panicking.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::unwrap_used,
    reason = "a test may block, fails by panicking, and may only want the effect"
)]

mod binary;
mod capture;
mod checks;
mod client;
mod exposition;
#[cfg(feature = "_database")]
mod fixtures;
#[cfg(feature = "postgres")]
mod postgres;
mod running;
#[cfg(feature = "_database")]
mod scratch;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "_database")]
mod statements;

pub use binary::Binary;
pub use checks::{check_committed, check_settings};
pub use client::{Answer, ask, ask_with, get};
pub use exposition::{Exposition, documented};
#[cfg(feature = "_database")]
pub use fixtures::database_settings;
pub use running::{Output, Running};
pub use rustix::process::Signal;
#[cfg(feature = "_database")]
pub use scratch::{Scratch, TestEngine};
#[cfg(feature = "_database")]
pub use statements::check_statements;

#[cfg(test)]
mod tests;
