//! Generation: a project from the template and a set of answers, as `cargo generate` makes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use cargo_generate::{GenerateArgs, TemplatePath, Vcs};

use crate::repository;

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
    let new_directory = !init && !directory.join(name).exists();
    let given = [
        ("database", &answers.database),
        ("example", &answers.example),
        ("deploy", &answers.deploy),
        ("source", &answers.source),
    ];
    cargo_generate::generate(GenerateArgs {
        template_path: TemplatePath {
            path: Some(template.to_string_lossy().into_owned()),
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
        if new_directory {
            _ = std::fs::remove_dir(directory.join(name));
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
