//! The service as a whole: the real binary, started, used and stopped as by an operator.
//!
//! Each test has its own process, directory, database and ports. It waits for events of the log, and never
//! for time to pass.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test may block, and fails by panicking"
)]

mod documents;
mod lifecycle;
mod metrics;
mod routes;

use mainstay::testing::Binary;

/// The binary of this package, as built by cargo.
const BINARY: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

// The engine that the service is built for.{{ nl }}type Engine = sqlx::{% if database == "sqlite" %}Sqlite{% else %}Postgres{% endif %};{% comment %}
#[cfg(not(feature = "postgres"))]
type Engine = sqlx::Sqlite;
#[cfg(feature = "postgres")]
type Engine = sqlx::Postgres;
// {% endcomment %}

/// The service, with an empty database. It makes only the checks that a test requests.
fn service() -> Binary {
    let binary = Binary::new(BINARY).database::<Engine>();
    binary.set("monitor.scheduled", false)
}
