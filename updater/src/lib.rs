//! Updates generated services, and moves their data from SQLite to Postgres.
//!
//! A separate package: an update renders the template of any commit, for which it needs cargo-generate,
//! and `cargo run -- new` need not build that.

pub mod data;
pub mod rendering;
pub mod update;

use generator::{cargo, checksum, files, generate, git, repository, succeed};
