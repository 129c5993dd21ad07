//! The commands of this repository for new users and maintainers: `cargo run -- COMMAND`.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, Subcommand};
use generator::generate::{Answers, Place, generate, project_name};
use generator::workspace::{Workspace, relative};
use generator::{cargo, git, repository};

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
    /// Merge a newer template, or other answers, into a generated project
    #[command(disable_help_flag = true)]
    Update(HandedOver),
    /// Copy the data of a service from SQLite to Postgres
    #[command(disable_help_flag = true)]
    CopyData(HandedOver),
    /// Run all tests, after installing their prerequisites (if apt and root are available)
    #[command(disable_help_flag = true)]
    Test(HandedOver),
    /// Measure build times, start, memory, size and speed, and write them to docs/performance.md
    #[command(disable_help_flag = true)]
    Measure(HandedOver),
    /// Update the files that generation derives from template/: locks, names, the checksum
    #[command(disable_help_flag = true)]
    Lock(HandedOver),
}

/// A command of another package, which is built on demand.
#[derive(Debug, clap::Args)]
struct HandedOver {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
struct New {
    /// Name of the service
    name: String,
    /// Directory to create the project in [default: beside this repository]
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<PathBuf>,
    /// Database of the service
    #[arg(long, value_parser = ["sqlite", "postgres"], default_value = "sqlite")]
    database: String,
    /// Example to start from
    #[arg(long, value_parser = ["hello", "monitor"], default_value = "hello")]
    example: String,
    /// Deployment files, separated by commas: any of docker, kubernetes, systemd, github; empty for
    /// none [default: all]
    #[arg(long)]
    deploy: Option<String>,
    /// Path of the machinery, relative to the service [default: the one in the surrounding
    /// workspace, or else a copy]
    #[arg(long, value_name = "PATH")]
    mainstay: Option<String>,
    /// Generate without running
    #[arg(long)]
    no_run: bool,
    /// Set in the child process that generates
    #[arg(long, hide = true)]
    only_files: bool,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::New(new) if new.only_files => Ok(new.write_files()),
        Task::New(new) => new.run(),
        Task::Update(_) | Task::CopyData(_) => hand_over("updater"),
        Task::Test(_) | Task::Measure(_) | Task::Lock(_) => hand_over("harness"),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

impl New {
    fn run(self) -> Result<ExitCode> {
        let project = generate_quietly()?;
        eprintln!("\nYour service is in {}", project.display());
        if let Some(workspace) = Workspace::around(&project)? {
            workspace.add(&project)?;
            eprintln!(
                "as a member of the workspace {}",
                workspace.root().display()
            );
        }
        self.commit(&project);
        if self.no_run {
            return Ok(ExitCode::SUCCESS);
        }
        if self.database == "postgres" {
            eprintln!("It needs a database before it can start: its README.md says which.");
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("Building and starting it, as `cargo run` would there; Ctrl-C stops it …");
        let mut cargo = Command::new(cargo());
        // Not `--locked`: a surrounding workspace may own the lock.
        cargo.arg("run").current_dir(&project);
        become_cargo(cargo)
    }

    /// Runs in the child process: writes the files, and prints the project's directory or the
    /// error.
    fn write_files(self) -> ExitCode {
        match self.files() {
            Ok(project) => {
                print!("{}", project.display());
                ExitCode::SUCCESS
            }
            Err(error) => {
                print!("{error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn files(self) -> Result<PathBuf> {
        let beside = repository::root().join("..");
        let directory = self.into.as_deref().unwrap_or(&beside);
        let directory = directory
            .canonicalize()
            .map_err(|_| anyhow!("There is no directory {}.", directory.display()))?;
        let name = project_name(&self.name);
        let project = directory.join(&name);
        let mut mainstay = self.mainstay;
        let workspace = Workspace::around(&project)?.filter(|_| !project.exists());
        if let (Some(workspace), None) = (workspace, &mainstay) {
            let packages = workspace.packages().context(
                "The workspace is to be searched for a machinery; --mainstay says where it is",
            )?;
            ensure!(
                !packages.contains_key(&name),
                "The workspace {} has a package {name} already. Choose another name.",
                workspace.root().display()
            );
            let shared = packages.get("mainstay");
            mainstay = shared.map(|shared| relative(&project, shared));
        }
        let answers = Answers {
            database: Some(self.database),
            example: Some(self.example),
            deploy: self.deploy,
            mainstay,
        };
        generate(&self.name, &answers, Place::Below(&directory))
    }

    /// Creates the first commit, which `--version` reports. A failure is not fatal: the service
    /// works without it.
    fn commit(&self, project: &Path) {
        let committed = git::is_inside(project).and_then(|inside| {
            let message = format!("Generate {} from the template Mainstay", self.name);
            if inside {
                Ok(())
            } else {
                git::commit_all(project, &message)
            }
        });
        if let Err(error) = committed {
            eprintln!("The service is not in a git repository: {error:#}");
        }
    }
}

/// Generates in a child process, and returns the project's directory.
///
/// cargo-generate prints each of its steps to stderr, and has no option against that. It also
/// requires a user name in the environment, which the template does not use.
fn generate_quietly() -> Result<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    let output = Command::new(std::env::current_exe()?)
        .args(arguments.next())
        .arg("--only-files")
        .args(arguments)
        .env("CARGO_NAME", "mainstay")
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    if output.status.success() {
        return Ok(PathBuf::from(printed));
    }
    // Another failure, for example a panic.
    let stderr = || {
        String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned()
    };
    Err(anyhow!(if printed.is_empty() {
        stderr()
    } else {
        printed
    }))
}

/// Replaces this process with the program of another package, with the same arguments.
fn hand_over(package: &str) -> Result<ExitCode> {
    let mut cargo = Command::new(cargo());
    // In the current directory, since arguments may be relative paths.
    cargo
        .args(["run", "--manifest-path"])
        .arg(repository::root().join("Cargo.toml"))
        .args(["--package", package, "--"])
        .args(std::env::args_os().skip(1));
    become_cargo(cargo)
}

/// Replaces this process with cargo, so that Ctrl-C reaches only the programs that cargo runs.
fn become_cargo(mut cargo: Command) -> Result<ExitCode> {
    std::io::stdout().flush()?;
    // Build scripts that depend on these variables would run again when the user calls cargo
    // directly.
    let of_this = ["CARGO_MANIFEST_", "CARGO_PKG_"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if of_this.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    Err(cargo.exec()).context("cargo cannot be run")
}
