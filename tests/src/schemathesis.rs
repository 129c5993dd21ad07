//! Schemathesis: asks a service whatever its description allows, and what it does not, and compares
//! each answer with what is said of it.
//!
//! It is installed from `tests/requirements.txt` (see [`python`]).

use std::process::Command;

use anyhow::Result;

use crate::python;
use crate::repository;

/// What it has found.
#[derive(Debug)]
pub struct Findings {
    pub is_fine: bool,
    /// All that it has said.
    pub report: String,
}

/// The command, installed if need be.
pub fn command() -> Result<Command> {
    let programs = python::programs("schemathesis", "requirements.txt")?;
    Ok(Command::new(programs.join("schemathesis")))
}

/// Asks the service at `url`, by the description at `place`: a file, or an address.
pub fn ask(place: &str, url: &str) -> Result<Findings> {
    let directory = tempfile::tempdir()?;
    let tests = repository::root().join("tests");
    let output = command()?
        .arg("--config-file")
        .arg(tests.join("schemathesis.toml"))
        .args(["run", place, "--url", url])
        // The same requests every time.
        .args(["--seed", "1", "--generation-database", "none"])
        .args(["--checks", "all", "--mode", "all", "--max-examples", "100"])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--continue-on-failure", "--no-color"])
        .env("SCHEMATHESIS_HOOKS", tests.join("schemathesis.py"))
        .current_dir(directory.path())
        .output()?;
    let report = [output.stdout, output.stderr].concat();
    Ok(Findings {
        is_fine: output.status.success(),
        report: String::from_utf8_lossy(&report).into_owned(),
    })
}
