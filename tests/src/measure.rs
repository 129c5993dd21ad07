//! What a generated service costs: to build, to start, to run. `cargo run -- measure` writes
//! docs/performance.md, the source of the figures in the README.

mod benchmarks;
mod costs;
mod edge;
mod lines;
mod stage;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::command::succeed;
use crate::repository;
use stage::Stage;

/// The parts that can be measured separately, in the order of the page.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Part {
    Costs,
    Edge,
    Benchmarks,
    /// The lines of each part of the machinery
    Lines,
}

/// The page's section on further measurements.
const RECIPE: &str = "
## Where the time goes

On a machine with performance counters, use `perf record`. Callgrind works on any machine, and its counts are
reproducible:

    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none cargo build --release
    valgrind --tool=callgrind --instr-atstart=no target/release/NAME
    callgrind_control --instr=on && SOME LOAD && callgrind_control --instr=off
    callgrind_annotate --inclusive=yes callgrind.out.PID

Callgrind overstates the cost of large copies. An expensive copy is most often a large future: wrap the inner future in
`Box::pin`.
";

/// Measures one part, and prints it.
pub fn part(part: Part) -> Result<()> {
    let target = repository::services();
    let page = match part {
        Part::Costs => costs::section(scratch()?.path())?,
        Part::Edge => edge::section(&Stage::built(&target)?)?,
        Part::Benchmarks => benchmarks::sections(&target)?,
        Part::Lines => lines::section()?,
    };
    print!("{page}");
    Ok(())
}

/// Measures the default variant, and writes docs/performance.md.
pub fn write() -> Result<()> {
    let scratch = scratch()?;
    let target = scratch.path();
    let costs = costs::section(target)?;
    let stage = Stage::built(target)?;
    let page = [
        begin()?,
        costs,
        edge::section(&stage)?,
        benchmarks::sections(target)?,
        RECIPE.to_owned(),
    ]
    .concat();
    let path = repository::root().join("docs/performance.md");
    fs::write(&path, &page).with_context(|| format!("{}", path.display()))?;
    println!("{page}");
    Ok(())
}

/// An empty directory to build in.
fn scratch() -> Result<TempDir> {
    fs::create_dir_all(repository::projects())?;
    Ok(tempfile::tempdir_in(repository::projects())?)
}

fn begin() -> Result<String> {
    let rustc = String::from_utf8(succeed(Command::new("rustc").arg("--version"))?)?;
    let version = rustc.split(' ').nth(1).unwrap_or("?");
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "# Performance\n\n\
         Measured with SQLite on {cores} cores of a small virtual machine, with rustc {version}. This \
         command\nmeasures all parts and writes this page:\n\n    cargo run -- measure\n\n\
         `cargo run -- measure costs|edge|benchmarks|lines` measures one part and prints it.\n",
    ))
}

/// Runs cargo, and returns its standard output. Fails if cargo does.
fn run_cargo(directory: &Path, target: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).current_dir(directory);
    succeed(cargo.env("CARGO_TARGET_DIR", target))
}

/// A figure, with a mark if it misses its aim.
fn judged(figure: String, holds: bool) -> String {
    if holds { figure } else { figure + ", missed" }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
