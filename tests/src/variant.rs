//! Variants: the template with each set of answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub use generator::files::{copy, files};

use crate::generate::{Answers, generate};
use crate::overlay;
use crate::repository;

/// The profile of a service's dependencies. A workspace with another one builds all of them again.
pub const PROFILE: &str = "[profile.dev.package.\"*\"]\ndebug = false\n";

/// One set of answers, and optionally an overlay.
#[derive(Clone, Debug, Default)]
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

    /// Generates the project in a temporary directory. Its name has the answers.
    pub fn generate(&self) -> Project {
        let answers = &self.answers;
        let given = [&answers.database, &answers.example, &answers.deploy];
        let given = given.into_iter().flatten();
        let name = given.fold("svc".to_owned(), |name, answer| format!("{name}-{answer}"));
        let name = name.replace(',', "-");
        let place = tempfile::tempdir().expect("a temporary directory");
        let directory = generate(name.trim_end_matches('-'), answers, place.path())
            .unwrap_or_else(|error| panic!("{name} cannot be generated: {error:#}"));
        if let Some(overlay) = self.overlay {
            overlay::put(&repository::root().join("tests").join(overlay), &directory)
                .unwrap_or_else(|error| panic!("{name} cannot be changed: {error:#}"));
        }
        Project {
            directory,
            _place: place,
        }
    }
}

/// A generated project. Dropping it removes it.
#[derive(Debug)]
pub struct Project {
    directory: PathBuf,
    _place: TempDir,
}

impl Project {
    pub fn name(&self) -> &str {
        let name = self.directory.file_name().and_then(|name| name.to_str());
        name.expect("a project is in a directory of its name")
    }

    pub fn dir(&self) -> &Path {
        &self.directory
    }

    /// Runs cargo on the project. Panics with the end of its output if it fails.
    pub fn cargo(&self, arguments: &[&str]) -> Output {
        cargo(&self.directory, self.name(), arguments)
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
    let mut cargo = generator::cargo();
    build_as_services(&mut cargo);
    cargo
        .args(arguments)
        .current_dir(directory)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let output = cargo.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{name}: `{}` failed:\n{}\n{}",
        generator::command_line(&cargo),
        end_of(&output.stdout),
        end_of(&output.stderr),
    );
    output
}

/// Lets a command that runs cargo use the builds of the services, and build nothing of them again.
pub fn build_as_services(command: &mut Command) {
    command
        .env("CARGO_TARGET_DIR", repository::services())
        .env("CARGO_TERM_COLOR", "never")
        // Each of the many projects is built once: incremental builds are not worth the disk.
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("RUSTFLAGS")
        // Only a caller that starts a server passes its URL.
        .env_remove("DATABASE_URL");
    generator::remove_package_variables(command);
}

fn end_of(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
