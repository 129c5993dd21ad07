//! Tests and measures the template: runs the commands `cargo run -- test`, `measure` and `lock`.

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
    /// Measure, and print tables for docs/performance.md
    Measure { part: measure::Part },
    /// Update the files that generation derives from template/: its lock file, its names, its
    /// checksum
    Lock,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Test { arguments } => {
            prerequisites::ensure()?;
            suites::run(&arguments)
        }
        Task::Measure { part } => measure::measure(part),
        Task::Lock => lock::write(),
    }
}
