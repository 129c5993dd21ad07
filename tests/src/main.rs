//! Tests and measures the template: what `cargo run -- test`, `measure` and `lock` hand over to.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use harness::{fleet, lock, measure, prerequisites, suites};

/// Tests and measures the template.
#[derive(Debug, Parser)]
#[command(name = "harness", bin_name = "cargo run --", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every test there is, after installing what they need (where apt and root are at hand)
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure build times, start, memory, size and speed, and write them to docs/performance.md
    Measure {
        /// Only this part, and only print it
        part: Option<measure::Part>,
    },
    /// Write what generation needs to know of template/: its lock file, its names, its checksum
    Lock,
    /// Generate the services of the suites, with the output of cargo-generate
    #[command(hide = true)]
    Services,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test { arguments } => test(&arguments),
        Task::Measure { part } => {
            let measured = part.map_or_else(measure::write, measure::part);
            measured.map(|()| ExitCode::SUCCESS)
        }
        Task::Lock => lock::write().map(|()| ExitCode::SUCCESS),
        Task::Services => fleet::generate_all().map(|()| ExitCode::SUCCESS),
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
