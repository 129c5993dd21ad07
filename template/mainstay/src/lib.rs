#![doc = include_str!("../README.md")]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::expect_used,
        clippy::unwrap_used,
        reason = "a test may block and panic: the thread is its own"
    )
)]

#[cfg(all(feature = "idempotency", not(feature = "_database")))]
compile_error!("the feature `idempotency` needs a database: enable `sqlite` or `postgres` as well");

// Modules by layer, the lowest first. A module imports only from its own layer and from lower ones.

mod build_info;
mod panics;
pub mod settings;

pub mod context;
pub mod lifecycle;
mod signals;
pub mod telemetry;
mod watchdog;

pub mod metrics;
pub mod supervisor;

#[cfg(feature = "_database")]
pub mod database;
pub mod problem;
pub mod server;

pub mod cpu;
#[cfg(all(feature = "idempotency", feature = "_database"))]
pub mod idempotency;
pub mod input;
pub mod precondition;
#[cfg(feature = "rate-limit")]
pub mod rate;

pub mod edge;
pub mod openapi;

pub mod health;

mod cli;
pub mod operator;

mod sections;

pub mod process;
pub mod service;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

/// An error that fails the start of a service, or a command.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a failing dependency means for `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Importance {
    /// The service stays ready. `/readyz?verbose`, the metrics and the log show the failure.
    Degraded,
    /// The service is not ready.
    Required,
}

// Direct dependencies only for their versions and features: see Cargo.toml.
use idna_adapter as _;
#[cfg(feature = "postgres")]
use sqlx_postgres as _;
#[cfg(feature = "sqlite")]
use sqlx_sqlite as _;

pub use build_info::BuildInfo;
#[cfg(feature = "_database")]
pub use database::Database;
pub use lifecycle::Exit;
pub use process::{Component, Process};
pub use sections::Settings;
pub use service::{Launch, Service};

#[cfg(test)]
mod tests;
