//! Schemathesis: sends a service valid and invalid requests derived from its API description, and
//! compares each response with that description.
//!
//! It is installed from `tests/requirements.txt` (see [`python`]).

use std::process::Command;

use anyhow::Result;

use crate::python;
use crate::repository;

/// The result of a run.
#[derive(Debug)]
pub struct Findings {
    pub is_fine: bool,
    /// The complete output.
    pub report: String,
}

/// The command. Installs it if needed.
pub fn command() -> Result<Command> {
    let programs = python::programs("schemathesis", "requirements.txt")?;
    Ok(Command::new(programs.join("schemathesis")))
}

/// Tests the service at `url` against the description at `place`: a file or a URL.
pub fn ask(place: &str, url: &str) -> Result<Findings> {
    let directory = tempfile::tempdir()?;
    let tests = repository::root().join("tests");
    let output = command()?
        .arg("--config-file")
        .arg(tests.join("schemathesis.toml"))
        .args(["run", place, "--url", url])
        // The same requests in every run.
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
