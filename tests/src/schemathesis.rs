//! Schemathesis: sends a service valid and invalid requests derived from its API description, and
//! compares each response with that description.
//!
//! It is installed from `tests/requirements.txt`, with pinned versions, into an environment below
//! `target/`: once, and again when that file changes.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::succeed;
use crate::repository;

/// The result of a run.
#[derive(Debug)]
pub struct Findings {
    pub is_fine: bool,
    /// The complete output.
    pub report: String,
}

/// The command. Installs it if needed.
fn command() -> Result<Command> {
    let home = repository::root().join("target/schemathesis");
    let requirements = repository::root().join("tests/requirements.txt");
    fs::create_dir_all(repository::root().join("target"))?;
    let lock = File::create(home.with_extension("lock"))?;
    // Several tests may install it at the same time.
    lock.lock()?;
    let installed = home.join("requirements.txt");
    let wanted = fs::read_to_string(&requirements)?;
    if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted) {
        install(&home, &requirements)?;
        // Written last: an interrupted installation starts again.
        fs::write(installed, wanted)?;
    }
    Ok(Command::new(home.join("bin/schemathesis")))
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

fn install(home: &Path, requirements: &Path) -> Result<()> {
    let mut python = Command::new("python3");
    succeed(python.args(["-m", "venv", "--clear"]).arg(home))?;
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    succeed(pip.arg("--requirement").arg(requirements)).map(drop)
}
