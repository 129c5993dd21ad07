//! The service as it is used: the real binary, real signals, real connections.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may block: the thread is its own"
)]

mod life;
mod metrics;
mod openapi;
mod routes;

use mainstay::testing::Binary;

#[cfg(not(feature = "postgres"))]
type Engine = sqlx::Sqlite;
#[cfg(feature = "postgres")]
type Engine = sqlx::Postgres;

/// The service with a database of its own. It checks only what a test asks for: nothing out there is
/// asked by itself.
fn monitor() -> Binary {
    let binary = Binary::new(env!("CARGO_BIN_EXE_monitor"));
    binary.database::<Engine>().set("monitor.scheduled", false)
}
