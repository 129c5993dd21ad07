//! Generates a service from the template of this repository, as `cargo generate` does.
//!
//! A separate package, so that the first command of a new user builds neither cargo-generate nor the
//! dependencies of the tests.

pub mod checksum;
pub mod files;
pub mod generate;
pub mod git;
mod liquid;
pub mod repository;
mod template;
pub mod workspace;

/// The path of the cargo that runs this program. Without one, the cargo on the `PATH`.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
