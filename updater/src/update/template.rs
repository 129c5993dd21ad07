//! The template at a revision, and the projects that it makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::record::Record;
use crate::generate::Answers;
use crate::rendering::{Facts, render, stage};
use crate::repository;

/// A repository of the template.
pub(crate) struct Template {
    repository: PathBuf,
    /// A clone, if the repository is remote.
    _clone: Option<TempDir>,
}

impl Template {
    /// The repository at a path or a URL.
    pub(crate) fn open(place: &str) -> Result<Self> {
        if repository::is_url(place) {
            let clone = tempfile::tempdir()?;
            let mut git = Command::new("git");
            git.args(["clone", "--quiet", place]).arg(clone.path());
            let output = git.output().context("git cannot be run")?;
            ensure!(
                output.status.success(),
                "{place} cannot be cloned: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            return Ok(Self {
                repository: clone.path().to_owned(),
                _clone: Some(clone),
            });
        }
        let repository = Path::new(place).canonicalize();
        let repository = repository.with_context(|| format!("{place} is no directory"))?;
        ensure!(
            repository.join("cargo-generate.toml").exists(),
            "{place} is not a checkout of the template: it has no cargo-generate.toml"
        );
        Ok(Self {
            repository,
            _clone: None,
        })
    }

    /// The full name of a commit. `None` if the repository does not have it.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        let commit = format!("{revision}^{{commit}}");
        let mut git = Command::new("git");
        git.args([
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &commit,
        ]);
        let output = git.current_dir(&self.repository).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(text)
    }

    /// Whether a commit is in the history of another one.
    pub(crate) fn is_ancestor(&self, commit: &str, of: &str) -> bool {
        let mut git = Command::new("git");
        git.args(["merge-base", "--is-ancestor", commit, of]);
        let output = git.current_dir(&self.repository).output();
        output.is_ok_and(|output| output.status.success())
    }

    /// The commit of the checkout, with the suffix `-dirty` if its files differ.
    pub(crate) fn checkout(&self) -> Option<String> {
        repository::commit(&self.repository)
    }

    /// The files of a commit, or of the checkout.
    fn files(&self, commit: Option<&str>) -> Result<TempDir> {
        let Some(commit) = commit else {
            return stage(&self.repository);
        };
        let files = tempfile::tempdir()?;
        let index = tempfile::tempdir()?;
        let mut git = Command::new("git");
        git.args(["-c", "core.autocrlf=false", "--work-tree"])
            .arg(files.path())
            .args([
                "checkout",
                "--quiet",
                commit,
                "--",
                "cargo-generate.toml",
                "template",
            ])
            // The repository's own index stays as it is.
            .env("GIT_INDEX_FILE", index.path().join("index"))
            .current_dir(&self.repository);
        let output = git.output().context("git cannot be run")?;
        ensure!(
            output.status.success(),
            "the template of the commit {commit} cannot be read: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(files)
    }

    /// Makes the project of a record, with the template of a commit, or of the checkout.
    pub(crate) fn project(
        &self,
        commit: Option<&str>,
        record: &Record,
        answers: &Answers,
        is_member: bool,
    ) -> Result<TempDir> {
        let files = self.files(commit)?;
        let project = tempfile::tempdir()?;
        let facts = Facts {
            is_member,
            source: repository::origin(&self.repository).or_else(|| record.source.clone()),
            commit: commit.map(str::to_owned).or_else(|| self.checkout()),
        };
        let place = project.path();
        Rendering::of(files.path(), &record.name, answers, &facts, place).run()?;
        Ok(project)
    }
}

/// A rendering in a child process: cargo-generate prints each of its steps to stderr, and needs a user
/// name in the environment, which the template does not use.
#[derive(Debug, clap::Args)]
pub struct Rendering {
    files: PathBuf,
    name: String,
    into: PathBuf,
    #[arg(long)]
    database: Option<String>,
    #[arg(long)]
    example: Option<String>,
    #[arg(long)]
    deploy: Option<String>,
    #[arg(long)]
    mainstay: Option<String>,
    #[arg(long)]
    source: Option<String>,
    #[arg(long)]
    commit: Option<String>,
    #[arg(long)]
    is_member: bool,
}

impl Rendering {
    fn of(files: &Path, name: &str, answers: &Answers, facts: &Facts, into: &Path) -> Self {
        Self {
            files: files.to_owned(),
            name: name.to_owned(),
            into: into.to_owned(),
            database: answers.database.clone(),
            example: answers.example.clone(),
            deploy: answers.deploy.clone(),
            mainstay: answers.mainstay.clone(),
            source: facts.source.clone(),
            commit: facts.commit.clone(),
            is_member: facts.is_member,
        }
    }

    /// Runs this program as the child.
    fn run(&self) -> Result<()> {
        let mut child = Command::new(std::env::current_exe()?);
        child
            .arg("render")
            .args([&self.files, Path::new(&self.name), &self.into]);
        for (option, value) in [
            ("database", &self.database),
            ("example", &self.example),
            ("deploy", &self.deploy),
            ("mainstay", &self.mainstay),
            ("source", &self.source),
            ("commit", &self.commit),
        ] {
            if let Some(value) = value {
                child.arg(format!("--{option}={value}"));
            }
        }
        if self.is_member {
            child.arg("--is-member");
        }
        let output = child.env("CARGO_NAME", "mainstay").output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let error = said
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("error: "));
        bail!(
            "the template cannot be rendered: {}",
            error.unwrap_or(&said)
        )
    }

    /// Renders, in the child.
    pub fn render(self) -> Result<()> {
        let answers = Answers {
            database: self.database,
            example: self.example,
            deploy: self.deploy,
            mainstay: self.mainstay,
        };
        let facts = Facts {
            is_member: self.is_member,
            source: self.source,
            commit: self.commit,
        };
        render(&self.files, &self.name, &answers, &facts, &self.into)
    }
}
