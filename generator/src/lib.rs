//! Generates a service from the template of this repository, as `cargo generate` does.
//!
//! A separate package, so that the first command of a new user builds only what generating needs: neither
//! cargo-generate nor the tests' dependencies.

pub mod checksum;
pub mod files;
pub mod generate;
pub mod git;
mod liquid;
pub mod repository;
mod template;
pub mod workspace;

/// The path of cargo: the one that runs this program, or else the one on the `PATH`.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
