//! Python programs: installed from a file with pinned versions into an environment below `target/`,
//! once, and again when that file changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::repository;

/// The directory of the environment's programs. Installs them if needed.
pub(crate) fn programs(name: &str, requirements: &str) -> Result<PathBuf> {
    let home = repository::root().join("target").join(name);
    let wanted = repository::root().join("tests").join(requirements);
    fs::create_dir_all(repository::root().join("target"))?;
    let lock = File::create(home.with_extension("lock"))?;
    // Several tests may install it at the same time.
    lock.lock()?;
    let (installed, wanted_text) = (home.join("requirements.txt"), fs::read_to_string(&wanted)?);
    if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted_text) {
        install(&home, &wanted)?;
        // Written last: an interrupted installation starts again.
        fs::write(installed, wanted_text)?;
    }
    Ok(home.join("bin"))
}

fn install(home: &Path, requirements: &Path) -> Result<()> {
    let mut python = Command::new("python3");
    output_of(python.args(["-m", "venv", "--clear"]).arg(home))?;
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ]);
    output_of(pip.arg(requirements)).map(drop)
}

/// Runs a command, and returns its output if it succeeds.
fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output();
    let output = output.with_context(|| format!("{command:?} cannot be run"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed:\n{error}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
