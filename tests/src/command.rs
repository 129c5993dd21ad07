//! Runs a program that must succeed.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs a command to its end. Returns its standard output, or an error with its standard error.
pub(crate) fn succeed(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output();
    let output = output.with_context(|| format!("{command:?} cannot be run"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed:\n{error}");
    Ok(output.stdout)
}
