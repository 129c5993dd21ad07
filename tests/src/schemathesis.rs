//! Schemathesis: asks a service whatever its description allows, and what it does not, and compares
//! each answer with what is said of it.
//!
//! It is installed from `tests/requirements.txt`, in which everything is pinned, into an environment
//! below `target/`: once, and again when that file changes.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

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
    let home = repository::root().join("target/schemathesis");
    let program = home.join("bin/schemathesis");
    let wanted = repository::root().join("tests/requirements.txt");
    fs::create_dir_all(repository::root().join("target"))?;
    let lock = File::create(home.with_extension("lock"))?;
    // Several tests may want it at once.
    lock.lock()?;
    let (installed, wanted_text) = (home.join("requirements.txt"), fs::read_to_string(&wanted)?);
    if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted_text) {
        install(&home, &wanted)?;
        // Last of all: what was interrupted begins anew.
        fs::write(installed, wanted_text)?;
    }
    Ok(Command::new(program))
}

fn install(home: &Path, requirements: &Path) -> Result<()> {
    let mut python = Command::new("python3");
    said(python.args(["-m", "venv", "--clear"]).arg(home))?;
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ]);
    said(pip.arg(requirements)).map(drop)
}

/// What a command says, if it succeeds.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output();
    let output = output.with_context(|| format!("{command:?} cannot be run"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed:\n{error}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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
