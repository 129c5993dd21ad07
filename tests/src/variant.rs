//! Variants: the template with each set of answers, generated and built once.
//!
//! A project stays in the same directory between runs, and only changed files are written, so that
//! cargo rebuilds only what changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use generator::files::{copy, files};

use crate::generate::{Answers, generate};
use crate::overlay;
use crate::repository;

/// The profile of a service's dependencies. A workspace with another one builds all of them again.
pub const PROFILE: &str = "[profile.dev.package.\"*\"]\ndebug = false\n";

/// One set of answers, and optionally an overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Variant {
    answers: Answers,
    overlay: Option<&'static str>,
}

impl Variant {
    #[must_use]
    pub fn database(mut self, database: &str) -> Self {
        self.answers.database = Some(database.to_owned());
        self
    }

    #[must_use]
    pub fn example(mut self, example: &str) -> Self {
        self.answers.example = Some(example.to_owned());
        self
    }

    #[must_use]
    pub fn deploy(mut self, choices: &[&str]) -> Self {
        self.answers.deploy = Some(choices.join(","));
        self
    }

    /// Applies the files of `tests/OVERLAY`; see [`overlay`].
    #[must_use]
    pub fn with(mut self, overlay: &'static str) -> Self {
        self.overlay = Some(overlay);
        self
    }

    /// Each database with each example: the variants that differ in code.
    pub fn all() -> Vec<Self> {
        let of = |database, example| Self::default().database(database).example(example);
        let examples = ["hello", "monitor"];
        let all = ["sqlite", "postgres"].map(|it| examples.map(|example| of(it, example)));
        all.concat()
    }

    /// The name of this variant's project, built from the answers.
    pub fn name(&self) -> String {
        let answers = self.answers.clone();
        let deploy = answers.deploy.map(|choices| match choices.as_str() {
            "" => "bare-metal".to_owned(),
            choices => choices.replace(',', "-"),
        });
        let overlay = self.overlay.map(str::to_owned);
        let given = [answers.database, answers.example, deploy, overlay];
        let given = given.into_iter().flatten();
        given.fold("svc".to_owned(), |name, answer| format!("{name}-{answer}"))
    }

    /// Generates the project, unless it is up to date.
    pub fn generate(&self) -> Project {
        let name = self.name();
        let home = repository::projects();
        fs::create_dir_all(&home).expect("the directory of projects can be created");
        // Several test processes may generate the same variant at the same time.
        let lock = File::create(home.join(format!("{name}.lock"))).expect("a lock file");
        lock.lock().expect("file locks work here");
        let scratch = tempfile::tempdir_in(&home).expect("the directory of projects is writable");
        let fresh = generate(&name, &self.answers, scratch.path())
            .unwrap_or_else(|error| panic!("{name} cannot be generated: {error:#}"));
        let directory = home.join(&name);
        if let Some(overlay) = self.overlay {
            overlay::put(&repository::root().join("tests").join(overlay), &fresh)
                .unwrap_or_else(|error| panic!("{name} cannot be changed: {error:#}"));
            overlay::keep_lock(&fresh, &directory).expect("the lock file can be kept");
        }
        settle(&fresh, &directory);
        Project { name, directory }
    }
}

/// A generated project.
#[derive(Debug, Clone)]
pub struct Project {
    name: String,
    directory: PathBuf,
}

impl Project {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn dir(&self) -> &Path {
        &self.directory
    }

    /// Runs cargo on the project. Panics with the end of its output if it fails.
    pub fn cargo(&self, arguments: &[&str]) -> Output {
        cargo(&self.directory, &self.name, arguments)
    }
}

/// Runs cargo in `directory` with the target directory that all services share. Panics with the end
/// of its output if it fails.
pub fn cargo(directory: &Path, name: &str, arguments: &[&str]) -> Output {
    cargo_with(directory, name, arguments, &[])
}

/// The same, with additional environment variables.
pub fn cargo_with(
    directory: &Path,
    name: &str,
    arguments: &[&str],
    environment: &[(&str, String)],
) -> Output {
    let mut cargo = cargo_command(directory, arguments);
    cargo.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = cargo.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{name}: {cargo:?} failed:\n{}\n{}",
        end_of(&output.stdout),
        end_of(&output.stderr),
    );
    output
}

/// cargo in `directory`, with the target directory that all services share.
pub(crate) fn cargo_command(directory: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(arguments)
        // Only a caller that starts a server passes its URL.
        .env_remove("DATABASE_URL")
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", repository::services())
        .env("CARGO_TERM_COLOR", "never")
        // Each of the many projects is built once: incremental builds are not worth the disk.
        .env("CARGO_INCREMENTAL", "0")
        // Variables that cargo sets for this crate's tests must not reach other builds.
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("RUSTFLAGS");
    cargo
}

fn end_of(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Makes `settled` equal to `fresh`, and touches only files that differ. A git repository in it
/// stays.
pub fn settle(fresh: &Path, settled: &Path) {
    let wanted = files(fresh);
    for file in files(settled).difference(&wanted) {
        if !file.iter().any(|part| part == ".git") {
            fs::remove_file(settled.join(file)).expect("an old file can be removed");
        }
    }
    for file in &wanted {
        let content = fs::read(fresh.join(file)).expect("a generated file can be read");
        let target = settled.join(file);
        if fs::read(&target).ok().as_ref() != Some(&content) {
            let parent = target.parent().expect("a file is in a directory");
            fs::create_dir_all(parent).expect("the directory of projects is writable");
            fs::write(&target, content).expect("the directory of projects is writable");
        }
    }
    remove_empty_directories(settled);
}

fn remove_empty_directories(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() && entry.file_name() != ".git" {
            remove_empty_directories(&entry.path());
            // Fails on a directory that is not empty, which must stay.
            _ = fs::remove_dir(entry.path());
        }
    }
}
