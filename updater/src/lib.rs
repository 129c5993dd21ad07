//! Updates generated services, and moves their data from SQLite to Postgres.
//!
//! A separate package, because an update renders the template of any commit with cargo-generate, which
//! `cargo run -- new` does not have to build.

pub mod data;
pub mod rendering;
pub mod update;

use generator::{cargo, checksum, files, generate, git, repository, succeed};
