//! `cargo run -- test`: runs every suite in turn, and prints progress and durations.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use generator::cargo;

use crate::{fleet, repository};

/// Suites whose tests wait most of the time, for timeouts of the services. They run more tests at once than
/// this machine may have cores.
const WAITING: [&str; 4] = ["database", "edge", "lifecycle", "service"];

/// Runs every suite, even after one has failed, or cargo with these arguments.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    if !arguments.is_empty() {
        return Ok(exit_code(cargo_test(&["--workspace"], arguments)?));
    }
    let suites = suites()?;
    let count = suites.len() + 1;
    println!(
        "{count} suites, about 17 minutes and 7 GB of disk on two cores from a clean checkout."
    );
    println!(
        "One of them: `cargo run -- test --test NAME`. Suites that last longer: CONTRIBUTING.md."
    );
    let began = Instant::now();
    // In this order: a build of the suites replaces the binary that runs here.
    fleet::generate_all()?;
    println!("\nBuilding the suites …");
    let built = cargo_test(&["--workspace", "--no-run"], &[])?;
    ensure!(built, "the suites do not build");
    let mut results = vec![("(building the suites)".to_owned(), began.elapsed(), true)];
    println!("\nBuilding the services that they test …");
    let began_services = Instant::now();
    ensure!(fleet::build()?, "the services do not build");
    let services = "(building the services)".to_owned();
    results.push((services, began_services.elapsed(), true));
    // Always of the whole workspace: another selection has other features, and builds cargo-generate again.
    let units = (
        "unit tests".to_owned(),
        vec!["--workspace", "--lib", "--bins"],
    );
    let named = suites
        .iter()
        .map(|name| (name.clone(), vec!["--workspace", "--test", name]));
    for (number, (name, selection)) in [units].into_iter().chain(named).enumerate() {
        println!("\n== suite {} of {count}: {name}", number + 1);
        let began = Instant::now();
        let passed = cargo_test(&selection, &[])?;
        results.push((name, began.elapsed(), passed));
    }
    print!("{}", table(&results, began.elapsed()));
    Ok(exit_code(results.iter().all(|(_, _, passed)| *passed)))
}

fn exit_code(passed: bool) -> ExitCode {
    ExitCode::from(u8::from(!passed))
}

/// The names of the suites: each is a file or a directory of tests. Those of two packages may share a name.
fn suites() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for directory in ["tests/tests", "generator/tests", "updater/tests"] {
        let directory = repository::root().join(directory);
        let entries = fs::read_dir(&directory);
        for entry in entries.with_context(|| format!("{} cannot be read", directory.display()))? {
            let path = entry?.path();
            if path.join("main.rs").exists() || path.extension().is_some_and(|kind| kind == "rs") {
                names.extend(path.file_stem().map(|name| name.display().to_string()));
            }
        }
    }
    Ok(names)
}

fn cargo_test(selection: &[&str], arguments: &[String]) -> Result<bool> {
    let mut command = Command::new(cargo());
    command.args(["test", "--locked"]).args(selection);
    command.args(arguments).current_dir(repository::root());
    if selection.last().is_some_and(|name| WAITING.contains(name)) {
        command.env("RUST_TEST_THREADS", "4");
    }
    let status = command.status().context("cargo cannot be run")?;
    Ok(status.success())
}

fn table(results: &[(String, Duration, bool)], total: Duration) -> String {
    let mut text = String::from("\n| suite | seconds | |\n|---|---|---|\n");
    for (name, took, passed) in results {
        let outcome = if *passed { "passed" } else { "FAILED" };
        // Writing to a string does not fail.
        _ = writeln!(text, "| {name} | {} | {outcome} |", took.as_secs());
    }
    _ = writeln!(text, "| all | {} | |", total.as_secs());
    text
}
