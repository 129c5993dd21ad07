//! Generates a service from the template of this repository, as `cargo generate` does, and runs the suites of tests.
//!
//! A separate package, so that the first command of a new user builds neither cargo-generate nor the
//! dependencies of the tests.

pub mod checksum;
pub mod files;
pub mod generate;
pub mod git;
mod liquid;
pub mod prerequisites;
pub mod repository;
mod template;
pub mod workspace;

use std::env;
use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The cargo that runs this program. Without one, the cargo on the `PATH`.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    remove_package_variables(&mut cargo);
    cargo
}

/// Removes the variables of this program's package (`CARGO_MANIFEST_*`, `CARGO_PKG_*`) from a command that runs cargo. A
/// build script that depends on them would run again in each build with other values.
pub fn remove_package_variables(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
}

/// Runs a command that must succeed, and returns its output without the last line end.
pub fn succeed(command: &mut Command) -> Result<String> {
    let shown = command_line(command);
    let output = command.output();
    let output = output.with_context(|| format!("`{shown}` cannot be run"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{shown}`: {}", error.trim());
    let text = String::from_utf8(output.stdout)?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// A command without its environment, for messages.
pub fn command_line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}
