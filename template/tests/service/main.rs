//! Tests of the real binary. They start, query and stop it as an operator would.
//!
//! Each test has a process, a directory, a database and ports of its own. It waits for events of the
//! log, never for time to pass.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test may block, and fails by panicking"
)]

mod documents;
mod hello;
mod lifecycle;

use mainstay::testing::Binary;

/// The path of this package's binary.
const BINARY: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

// The engine that the service is built for.{{ nl }}type Engine = sqlx::{% if database == "sqlite" %}Sqlite{% else %}Postgres{% endif %};{% comment %}
#[cfg(not(feature = "postgres"))]
type Engine = sqlx::Sqlite;
#[cfg(feature = "postgres")]
type Engine = sqlx::Postgres;
// {% endcomment %}

/// The service, with an empty database.
fn service() -> Binary {
    Binary::new(BINARY).database::<Engine>()
}
