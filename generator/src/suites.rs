//! `cargo run -- test`: runs every suite in turn. The first one that needs the services builds them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use generator::{cargo, command_line, repository};

/// Suites that mostly wait for timeouts, and `api`, whose longest test takes as long as the others together. They run
/// more tests at once than this machine may have cores.
const WAITING: [&str; 5] = ["api", "database", "edge", "lifecycle", "service"];

/// Runs every suite, even after one has failed, or cargo with these arguments.
pub(super) fn run(arguments: &[OsString]) -> Result<()> {
    if !arguments.is_empty() {
        return ensure_passed(cargo_test().args(arguments));
    }
    println!("All suites: about 20 minutes and 7 GB of disk on two cores from a clean checkout.");
    println!("One of them: `cargo run -- test --test NAME`.");
    println!("\nBuilding the suites; the first one that needs the services builds them …");
    ensure_passed(cargo_test().arg("--no-run"))?;
    let mut failed = Vec::new();
    for suite in suites()? {
        let mut test = cargo_test();
        match &*suite {
            UNITS => test.args(["--lib", "--bins"]),
            name => test.args(["--test", name]),
        };
        if WAITING.contains(&&*suite) {
            test.env("RUST_TEST_THREADS", "8");
        }
        println!("\n== {suite}");
        if ensure_passed(&mut test).is_err() {
            failed.push(suite);
        }
    }
    ensure!(failed.is_empty(), "failed suites: {}", failed.join(", "));
    Ok(())
}

const UNITS: &str = "(unit tests)";

/// The names of the suites: each is a file or a directory of tests. Those of two packages may share a name.
fn suites() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::from([UNITS.to_owned()]);
    for directory in ["tests/tests", "generator/tests", "updater/tests"] {
        for entry in fs::read_dir(repository::root().join(directory)).context(directory)? {
            let path = entry?.path();
            if path.join("main.rs").exists() || path.extension().is_some_and(|kind| kind == "rs") {
                names.extend(path.file_stem().map(|name| name.display().to_string()));
            }
        }
    }
    Ok(names)
}

/// Always of the whole workspace: another selection has other features, and builds cargo-generate again.
fn cargo_test() -> Command {
    let mut command = cargo();
    command.args(["test", "--locked", "--workspace"]);
    command.current_dir(repository::root());
    command
}

fn ensure_passed(command: &mut Command) -> Result<()> {
    let status = command.status().context("cargo cannot be run")?;
    ensure!(status.success(), "`{}` failed", command_line(command));
    Ok(())
}
