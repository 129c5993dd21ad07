//! What a newcomer and a maintainer run in this repository: `cargo run -- COMMAND`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use harness::generate::{Answers, Place, generate};
use harness::{lock, measure, prerequisites, repository};

/// Mainstay: services that are ready for production on their first day.
#[derive(Debug, Parser)]
#[command(name = "mainstay", bin_name = "cargo run --", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Generate a new service and run it
    New(New),
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
    /// Bring the lock file that generated services get up to date with template/Cargo.lock
    Lock,
}

#[derive(Debug, clap::Args)]
struct New {
    /// What the service is called
    name: String,
    /// Where its directory is made [default: beside this repository]
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<PathBuf>,
    /// Where the service keeps its data
    #[arg(long, value_parser = ["sqlite", "postgres"], default_value = "sqlite")]
    database: String,
    /// What it starts from
    #[arg(long, value_parser = ["monitor", "none"], default_value = "monitor")]
    example: String,
    /// Which files for deployment it gets: any of docker, kubernetes, systemd, github, with commas
    /// between, or empty for none [default: all]
    #[arg(long)]
    deploy: Option<String>,
    /// Generate only
    #[arg(long)]
    no_run: bool,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::New(new) => named().and_then(|()| new.run()),
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

/// cargo-generate asks the environment who is generating, and gives up where nobody is named, as in
/// a container. Then this begins again with a name, which the template does not use.
fn named() -> Result<()> {
    let names = [
        "CARGO_NAME",
        "GIT_AUTHOR_NAME",
        "GIT_COMMITTER_NAME",
        "USER",
        "USERNAME",
        "NAME",
    ];
    if names.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    Err(again
        .args(std::env::args_os().skip(1))
        .env("CARGO_NAME", "mainstay")
        .exec()
        .into())
}

impl New {
    fn run(self) -> Result<ExitCode> {
        let beside = repository::root().join("..");
        let answers = Answers {
            database: Some(self.database.clone()),
            example: Some(self.example),
            deploy: self.deploy,
            source: repository::origin(),
        };
        let place = Place::Below(self.into.as_deref().unwrap_or(&beside));
        let project = generate(&self.name, &answers, place)?;
        eprintln!("\nYour service is in {}", project.display());
        if self.no_run {
            return Ok(ExitCode::SUCCESS);
        }
        if self.database == "postgres" {
            eprintln!("It needs a database before it can start: its README.md says which.");
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("Building and starting it, as `cargo run` would there; Ctrl-C stops it …");
        start(&project)
    }
}

/// Becomes the service, by way of cargo, so that Ctrl-C reaches it and nobody else.
fn start(project: &Path) -> Result<ExitCode> {
    let mut cargo = Command::new(cargo());
    // Not `--locked`: in a workspace, whose lock this is is not ours to say.
    cargo.arg("run").current_dir(project);
    // What is said of this package is nothing to that one, and would have some of it built anew the next time.
    let of_this = ["CARGO_MANIFEST_", "CARGO_PKG_"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if of_this.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    Err(cargo.exec()).context("cargo cannot be run")
}

fn test(arguments: &[String]) -> Result<ExitCode> {
    prerequisites::ensure()?;
    let mut cargo = Command::new(cargo());
    cargo
        .args(["test", "--workspace", "--locked"])
        .args(arguments)
        .current_dir(repository::root());
    exit_code(&mut cargo)
}

fn exit_code(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
        .into())
}

/// The cargo that runs this, or else the one on the path.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
