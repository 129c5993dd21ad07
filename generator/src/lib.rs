//! Generates a service from the template of this repository, as `cargo generate` does.
//!
//! A package of its own, so that the first command of a new user builds this and nothing of the
//! tests.

pub mod checksum;
pub mod files;
pub mod generate;
pub mod git;
pub mod repository;
pub mod workspace;

/// The cargo that runs this, or else the one on the path.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
