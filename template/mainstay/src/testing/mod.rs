//! Helpers for the tests of a service: a database for each test, the real binary, a client for it, and its metrics,
//! read as Prometheus reads them.
//!
//! They need the feature `testing`, which belongs in `[dev-dependencies]`. A helper fails a test by panicking.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    clippy::unwrap_used,
    reason = "a test may block, fails by panicking, and may only want the effect"
)]

mod checks;
mod client;
mod exposition;
#[cfg(feature = "postgres")]
mod postgres;
mod process;
#[cfg(feature = "_database")]
mod scratch;
#[cfg(feature = "_database")]
mod statements;

pub use checks::{check_committed, check_settings};
pub use client::{Answer, ask, ask_with, get};
pub use exposition::{Exposition, documented};
pub use process::{Binary, Output, Running};
pub use rustix::process::Signal;
#[cfg(feature = "_database")]
pub use scratch::{Scratch, TestEngine, database_settings};
#[cfg(feature = "_database")]
pub use statements::check_statements;

#[cfg(test)]
mod tests;
