//! Generation: a project from the template and a set of answers, as `cargo generate` makes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use cargo_generate::{GenerateArgs, TemplatePath, Vcs};
use tempfile::TempDir;

use crate::repository;
use crate::variant::{copy, files};

/// What `cargo generate` would ask. What is left out has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Answers {
    pub database: Option<String>,
    pub example: Option<String>,
    /// Separated by commas; empty for none.
    pub deploy: Option<String>,
    /// Where the template is, for `.template.toml`.
    pub source: Option<String>,
}

/// Where and how a project is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In a new directory of this one, named like the project.
    Below(&'a Path),
    /// In this directory itself.
    Init(&'a Path),
}

/// Generates the project `name`, and says where it is.
pub fn generate(name: &str, answers: &Answers, place: Place<'_>) -> Result<PathBuf> {
    let (directory, init) = match place {
        Place::Below(directory) => (directory, false),
        Place::Init(directory) => (directory, true),
    };
    let template = repository::root().canonicalize()?;
    let directory = directory
        .canonicalize()
        .with_context(|| format!("there is no directory {}", directory.display()))?;
    ensure!(
        !directory.starts_with(&template),
        "{} is inside the template's own repository; choose another place",
        directory.display()
    );
    let deploy = answers
        .deploy
        .as_ref()
        .map(|choices| choices.replace(' ', ""));
    let staged = staged(&template)?;
    let before = entries(&directory);
    let given = [
        ("database", &answers.database),
        ("example", &answers.example),
        ("deploy", &deploy),
        ("source", &answers.source),
    ];
    cargo_generate::generate(GenerateArgs {
        template_path: TemplatePath {
            path: Some(staged.path().to_string_lossy().into_owned()),
            ..TemplatePath::default()
        },
        name: Some(name.to_owned()),
        define: given
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?)))
            .collect(),
        destination: Some(directory.clone()),
        init,
        silent: true,
        quiet: true,
        vcs: Some(Vcs::None),
        ..GenerateArgs::default()
    })
    .map_err(|error| {
        // cargo-generate makes the directory before it looks at the answers.
        for made in entries(&directory).difference(&before) {
            // Only what is empty can be removed like this.
            _ = std::fs::remove_dir(made);
        }
        in_words(&error)
    })
}

/// What a hook refuses with, without the path and the line of the hook.
fn in_words(error: &anyhow::Error) -> anyhow::Error {
    let whole = format!("{error:#}");
    let refusal = whole
        .split_once("Runtime error: ")
        .map_or(&*whole, |(_, words)| words);
    anyhow!(
        "{}",
        refusal
            .split(" (line ")
            .next()
            .unwrap_or(refusal)
            .trim_start_matches("⛔   ")
    )
}

/// The template as it would be committed: what an editor or a run has left in it, perhaps with
/// secrets, stays here. Without git, it is taken as it is.
pub fn staged(repository: &Path) -> Result<TempDir> {
    let staged = tempfile::tempdir()?;
    let mut git = Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = git
        .args(["cargo-generate.toml", "template"])
        .current_dir(repository)
        .output();
    let files: Vec<PathBuf> = match listed {
        Ok(output) if output.status.success() => {
            let listed = String::from_utf8(output.stdout)?;
            listed.split_terminator('\0').map(PathBuf::from).collect()
        }
        _ => {
            let template = files(&repository.join("template"));
            let kept = template.iter().filter(|file| !file.starts_with("target"));
            let kept = kept.map(|file| Path::new("template").join(file));
            kept.chain([PathBuf::from("cargo-generate.toml")]).collect()
        }
    };
    let there = files
        .into_iter()
        .filter(|file| repository.join(file).is_file());
    copy(repository, there, staged.path())?;
    Ok(staged)
}

fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
