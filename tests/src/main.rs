//! Runs the commands `cargo run -- measure` and `lock`.

use anyhow::Result;
use clap::{Parser, Subcommand};
use harness::{lock, measure};

/// Measures the template, and updates the files that are derived from it.
#[derive(Debug, Parser)]
#[command(name = "harness", bin_name = "cargo run --", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measure, and print tables for docs/performance.md
    Measure { part: measure::Part },
    /// Update the files that generation derives from template/: its lock file, its names, its
    /// checksum
    Lock,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Measure { part } => measure::measure(part),
        Task::Lock => lock::write(),
    }
}
