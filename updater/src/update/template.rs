//! The template at a revision, and the projects that it makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::record::Record;
use crate::generate::Answers;
use crate::git::git;
use crate::rendering::{self, Rendering, stage};
use crate::{repository, succeed};

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
            git(clone.path(), &["clone", "--quiet", place, "."])
                .with_context(|| format!("{place} cannot be cloned"))?;
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
        let parse = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
        git(&self.repository, &[&parse[..], &[&commit]].concat()).ok()
    }

    /// Whether a commit is in the history of another one.
    pub(crate) fn is_ancestor(&self, commit: &str, of: &str) -> bool {
        let arguments = ["merge-base", "--is-ancestor", commit, of];
        git(&self.repository, &arguments).is_ok()
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
        let mut checkout = Command::new("git");
        checkout
            .args(["-c", "core.autocrlf=false", "--work-tree"])
            .arg(files.path())
            .args(["checkout", "--quiet", commit, "--"])
            .args(["cargo-generate.toml", "template"])
            // The repository's own index stays as it is.
            .env("GIT_INDEX_FILE", index.path().join("index"))
            .current_dir(&self.repository);
        succeed(&mut checkout)
            .with_context(|| format!("the template of the commit {commit} cannot be read"))?;
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
        let source = repository::origin(&self.repository).or_else(|| record.source.clone());
        let commit = commit.map(str::to_owned).or_else(|| self.checkout());
        let workspace = if is_member { "member" } else { "alone" };
        let facts = [
            ("source", source),
            ("commit", commit),
            ("workspace", Some(workspace.to_owned())),
        ];
        let rendering = Rendering {
            template: files.path().to_owned(),
            name: record.name.clone(),
            into: project.path().to_owned(),
            values: rendering::values(answers, facts),
        };
        let rendered = rendering.run(&std::env::current_exe()?);
        rendered.context("the template cannot be rendered")?;
        Ok(project)
    }
}
