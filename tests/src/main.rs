//! Tests and measures the template: runs the commands `cargo run -- test`, `measure` and `lock`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use harness::{lock, measure, prerequisites, suites};

/// Tests and measures the template.
#[derive(Debug, Parser)]
#[command(name = "harness", bin_name = "cargo run --", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run all tests, after installing their prerequisites (if apt and root are available)
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure build times, start, memory, size and speed, and write them to docs/performance.md
    Measure {
        /// Measure only this part, and print it instead
        part: Option<measure::Part>,
    },
    /// Update the files that generation derives from template/: its lock file, its names, its
    /// checksum
    Lock,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test { arguments } => test(&arguments),
        Task::Measure { part } => {
            let measured = part.map_or_else(measure::write, measure::part);
            measured.map(|()| ExitCode::SUCCESS)
        }
        Task::Lock => lock::write().map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn test(arguments: &[String]) -> Result<ExitCode> {
    prerequisites::ensure()?;
    suites::run(arguments)
}
