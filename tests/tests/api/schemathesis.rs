//! Schemathesis: sends a service valid and invalid requests derived from its API description, and
//! compares each response with that description.
//!
//! It is installed from `tests/requirements.txt`, with pinned versions, into an environment below
//! `target/`: once, and again when that file changes.

use std::fs::{self, File};
use std::process::Command;

use harness::repository;

pub(crate) struct Findings {
    pub(crate) is_fine: bool,
    /// The complete output.
    pub(crate) report: String,
}

/// Tests the service at `url` against the description at `place`: a file or a URL.
pub(crate) fn ask(place: &str, url: &str) -> Findings {
    let directory = tempfile::tempdir().unwrap();
    let tests = repository::root().join("tests");
    let output = command()
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
        .output()
        .unwrap();
    let report = [output.stdout, output.stderr].concat();
    Findings {
        is_fine: output.status.success(),
        report: String::from_utf8_lossy(&report).into_owned(),
    }
}

/// The command. Installs it if needed.
fn command() -> Command {
    let home = repository::root().join("target/schemathesis");
    let requirements = repository::root().join("tests/requirements.txt");
    fs::create_dir_all(repository::root().join("target")).unwrap();
    let lock = File::create(home.with_extension("lock")).unwrap();
    // Several tests may install it at the same time.
    lock.lock().unwrap();
    let installed = home.join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted) {
        let mut python = Command::new("python3");
        run(python.args(["-m", "venv", "--clear"]).arg(&home));
        let mut pip = Command::new(home.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]);
        run(pip.arg("--requirement").arg(&requirements));
        // Written last: an interrupted installation starts again.
        fs::write(installed, wanted).unwrap();
    }
    Command::new(home.join("bin/schemathesis"))
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
