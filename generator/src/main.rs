//! The commands of this repository for new users and maintainers: `cargo run -- COMMAND`.

mod suites;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use generator::generate::{Answers, generate, project_name};
use generator::workspace::{Workspace, joined, relative};
use generator::{cargo, git, prerequisites, repository};
use lexopt::{Arg, Parser, ValueExt};

const USAGE: &str = "\
Mainstay: services that are ready for production on their first day.

Usage: cargo run -- COMMAND

  new        Generate a new service and run it
  update     Merge a newer template, or other answers, into a generated project
  copy-data  Copy the data of a service from SQLite to Postgres
  test       Run all tests, after installing their prerequisites (if apt and root are available)
  measure    Measure costs (build times, start, memory, size) or the edge (speed) for docs/performance.md
  lock       Update the files that generation derives from template/: locks, names, the checksum

The options of a command: cargo run -- COMMAND --help";

const USAGE_OF_TEST: &str = "\
Run all tests, after installing their prerequisites (if apt and root are available)

Usage: cargo run -- test [ARGUMENTS OF CARGO TEST]

One suite: cargo run -- test --test NAME
One test:  cargo run -- test NAME";

const USAGE_OF_NEW: &str = "\
Generate a new service and run it

Usage: cargo run -- new [OPTIONS] NAME

  --into DIRECTORY   Directory to create the project in [default: beside this repository]
  --database NAME    Database of the service: sqlite or postgres [default: sqlite]
  --example NAME     Example to start from: hello or monitor [default: hello]
  --deploy CHOICES   Deployment files, separated by commas: any of docker, kubernetes, systemd, github;
                     empty for none [default: all]
  --mainstay PATH    Path of the machinery, relative to the service [default: the one in the surrounding
                     workspace, or else a copy]
  --no-run           Generate without running";

#[derive(Debug, Default)]
struct New {
    name: String,
    into: Option<PathBuf>,
    answers: Answers,
    no_run: bool,
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let mut arguments = Parser::from_env();
    let command = match arguments.next()? {
        Some(Arg::Value(command)) => command.string()?,
        Some(Arg::Long("help") | Arg::Short('h')) | None => "help".to_owned(),
        Some(other) => return Err(other.unexpected().into()),
    };
    match &*command {
        "new" => match New::parse(arguments)? {
            Some(new) => new.run(),
            None => help(USAGE_OF_NEW),
        },
        "update" | "copy-data" => hand_over("updater"),
        "test" => test(&arguments.raw_args()?.collect::<Vec<_>>()),
        "measure" | "lock" => hand_over("harness"),
        "help" => help(USAGE),
        _ => bail!("there is no command `{command}`\n\n{USAGE}"),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one of several commands")]
fn help(usage: &str) -> Result<ExitCode> {
    println!("{usage}");
    Ok(ExitCode::SUCCESS)
}

fn test(arguments: &[OsString]) -> Result<ExitCode> {
    if arguments
        .first()
        .is_some_and(|it| it == "--help" || it == "-h")
    {
        return help(USAGE_OF_TEST);
    }
    prerequisites::ensure()?;
    suites::run(arguments)?;
    Ok(ExitCode::SUCCESS)
}

impl New {
    /// `None` if help is requested.
    fn parse(mut arguments: Parser) -> Result<Option<Self>> {
        let (mut new, mut name) = (Self::default(), None);
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Value(given) if name.is_none() => name = Some(given.string()?),
                Arg::Long("into") => new.into = Some(arguments.value()?.into()),
                Arg::Long("database") => new.answers.database = Some(arguments.value()?.string()?),
                Arg::Long("example") => new.answers.example = Some(arguments.value()?.string()?),
                Arg::Long("deploy") => new.answers.deploy = Some(arguments.value()?.string()?),
                Arg::Long("mainstay") => new.answers.mainstay = Some(arguments.value()?.string()?),
                Arg::Long("no-run") => new.no_run = true,
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        new.name = name.with_context(|| format!("the name is missing\n\n{USAGE_OF_NEW}"))?;
        Ok(Some(new))
    }

    fn run(self) -> Result<ExitCode> {
        let project = self.generate()?;
        eprintln!("\nYour service is in {}", project.display());
        if let Some(workspace) = Workspace::around(&project)? {
            workspace.add(&project)?;
            eprintln!(
                "as a member of the workspace {}",
                workspace.root().display()
            );
            workspace.complete_lock();
        }
        self.commit(&project);
        if self.no_run {
            eprintln!("Start it with `cargo run` in that directory.");
            return Ok(ExitCode::SUCCESS);
        }
        if self.answers.database.as_deref() == Some("postgres") {
            eprintln!("It needs a database before it can start: its README.md says which.");
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("Building and starting it, as `cargo run` would there; Ctrl-C stops it …");
        let mut cargo = cargo();
        // Not `--locked`: a surrounding workspace may own the lock.
        cargo.arg("run").current_dir(&project);
        become_cargo(cargo)
    }

    fn generate(&self) -> Result<PathBuf> {
        let beside = repository::root().join("..");
        let directory = self.into.as_deref().unwrap_or(&beside);
        let directory = directory
            .canonicalize()
            .map_err(|_| anyhow!("There is no directory {}.", directory.display()))?;
        let name = project_name(&self.name);
        let project = directory.join(&name);
        let mut answers = self.answers.clone();
        let workspace = Workspace::around(&project)?.filter(|_| !project.exists());
        if let (Some(workspace), None) = (workspace, &answers.mainstay) {
            let packages = workspace.packages().context(
                "The workspace is to be searched for a machinery; --mainstay says where it is",
            )?;
            ensure!(
                !packages.contains_key(&name),
                "The workspace {} has a package {name} already. Choose another name.",
                workspace.root().display()
            );
            let shared = packages.get("mainstay");
            answers.mainstay = shared.map(|shared| relative(&project, shared));
        }
        if let Some(path) = &answers.mainstay
            && path != "mainstay"
        {
            let manifest = joined(&project, Path::new(path)).join("Cargo.toml");
            ensure!(
                fs::read_to_string(&manifest)
                    .is_ok_and(|text| text.contains("name = \"mainstay\"")),
                "{} is not the machinery: there is no package `mainstay`. --mainstay is a path from {}.",
                manifest.display(),
                project.display()
            );
        }
        generate(&self.name, &answers, &directory)
    }

    /// Creates the first commit, which `--version` reports. A failure is not fatal: the service
    /// works without it.
    fn commit(&self, project: &Path) {
        if git::is_inside(project) {
            return;
        }
        let name = project_name(&self.name);
        let message = format!("Generate {name} from the template Mainstay");
        if let Err(error) = git::commit_all(project, &message) {
            eprintln!("The service is not in a git repository: {error:#}");
        }
    }
}

/// Replaces this process with the program of another package, with the same arguments.
fn hand_over(package: &str) -> Result<ExitCode> {
    let mut cargo = cargo();
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
    Err(cargo.exec()).context("cargo cannot be run")
}
