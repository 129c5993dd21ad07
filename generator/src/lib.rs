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

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The path of the cargo that runs this program. Without one, the cargo on the `PATH`.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a command that must succeed, and returns its output without the last line end.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output();
    let program = || command.get_program().display().to_string();
    let output = output.with_context(|| format!("{} cannot be run", program()))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", error.trim());
    let text = String::from_utf8(output.stdout)?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
