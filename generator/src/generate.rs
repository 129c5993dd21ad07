//! Generation: creates a project from the template and a set of answers, as `cargo generate` does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow, ensure};
use cargo_generate::{GenerateArgs, TemplatePath, Vcs};
use heck::{ToKebabCase, ToSnakeCase};
use tempfile::TempDir;

use crate::files::{copy, files};
use crate::workspace::Workspace;
use crate::{checksum, repository};

/// The answers to the questions of `cargo generate`. `None` means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Answers {
    pub database: Option<String>,
    pub example: Option<String>,
    /// Separated by commas; empty for no files.
    pub deploy: Option<String>,
    /// The path of the machinery, relative to the project.
    pub mainstay: Option<String>,
}

/// Where a project is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In a new directory below this one, with the name of the project.
    Below(&'a Path),
    /// In this directory itself.
    Init(&'a Path),
}

/// Normalizes a name for the project and its directory.
pub fn project_name(name: &str) -> String {
    let name_in_snake_case = name.to_snake_case();
    if name_in_snake_case == name {
        name_in_snake_case
    } else {
        name.to_kebab_case()
    }
}

/// Generates the project `name`, and returns its directory.
pub fn generate(name: &str, answers: &Answers, place: Place<'_>) -> Result<PathBuf> {
    let template = repository::root().canonicalize()?;
    let (Place::Below(directory) | Place::Init(directory)) = place;
    let directory = directory
        .canonicalize()
        .map_err(|_| anyhow!("There is no directory {}.", directory.display()))?;
    ensure!(
        !directory.starts_with(&template),
        "{} is inside the template's own repository. Choose another place.",
        directory.display()
    );
    let project = match place {
        Place::Below(_) => directory.join(project_name(name)),
        Place::Init(_) => directory.clone(),
    };
    let staged = staged(&template)?;
    let before = entries(&directory);
    let facts = Facts {
        is_member: Workspace::around(&project)?.is_some(),
        source: repository::origin(&template),
        commit: repository::commit(&template),
    };
    render(staged.path(), name, answers, &facts, place).inspect_err(|_| {
        // cargo-generate creates the directory before it checks the answers.
        for made in entries(&directory).difference(&before) {
            // `remove_dir` fails on a directory that is not empty, which must stay.
            _ = fs::remove_dir(made);
        }
    })?;
    Ok(project)
}

/// What a rendering needs to know besides the answers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether the project is a member of a surrounding workspace.
    pub is_member: bool,
    /// The URL of the template's repository.
    pub source: Option<String>,
    /// The template's commit.
    pub commit: Option<String>,
}

/// Renders a [`staged`] template.
pub fn render(
    staged: &Path,
    name: &str,
    answers: &Answers,
    facts: &Facts,
    place: Place<'_>,
) -> Result<()> {
    let (project, directory) = match place {
        Place::Below(directory) => (directory.join(project_name(name)), directory),
        Place::Init(directory) => (directory.to_owned(), directory),
    };
    cargo_generate::generate(GenerateArgs {
        template_path: TemplatePath {
            path: Some(staged.to_string_lossy().into_owned()),
            ..TemplatePath::default()
        },
        name: Some(name.to_owned()),
        define: definitions(answers, facts, staged)?,
        destination: Some(directory.to_owned()),
        init: matches!(place, Place::Init(_)),
        silent: true,
        quiet: true,
        // `Workspace::add` edits the list of members and keeps comments.
        no_workspace: true,
        vcs: Some(Vcs::None),
        ..GenerateArgs::default()
    })
    .map_err(|error| in_words(&error, &project))?;
    sort_lock(&project, name)
}

/// The values for cargo-generate's `--define`.
fn definitions(answers: &Answers, facts: &Facts, staged: &Path) -> Result<Vec<String>> {
    let deploy = answers.deploy.as_ref();
    let workspace = if facts.is_member { "member" } else { "alone" };
    let given = [
        ("database", answers.database.clone()),
        ("example", answers.example.clone()),
        ("deploy", deploy.map(|choices| choices.replace(' ', ""))),
        ("mainstay", answers.mainstay.clone()),
        ("workspace", Some(workspace.to_owned())),
        ("source", facts.source.clone()),
        ("commit", facts.commit.clone()),
        ("checksum", Some(checksum::of(&machinery(staged))?)),
    ];
    let given = given.into_iter();
    Ok(given
        .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
        .collect())
}

/// The machinery in a [`staged`] template.
pub fn machinery(staged: &Path) -> PathBuf {
    staged.join("template/mainstay")
}

/// cargo-generate's message without the path and the line of a hook.
fn in_words(error: &anyhow::Error, project: &Path) -> anyhow::Error {
    let whole = format!("{error:#}");
    if whole.contains("Target directory already exists") {
        return anyhow!(
            "{} exists already. Choose another name, or another place.",
            project.display()
        );
    }
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

/// Sorts the project's own entry as cargo does. Otherwise the first build would change the lock
/// file.
fn sort_lock(project: &Path, name: &str) -> Result<()> {
    let path = project.join("Cargo.lock");
    let Ok(lock) = fs::read_to_string(&path) else {
        return Ok(());
    };
    let own = format!("[[package]]\nname = \"{}\"\n", project_name(name));
    let (mut blocks, own): (Vec<_>, Vec<_>) = lock
        .trim_end()
        .split("\n\n")
        .partition(|block| !block.starts_with(&own));
    let name_in = |block: &str| block.lines().nth(1).map(str::to_owned);
    for own in own {
        let packages = blocks.iter().skip(1);
        let before = packages.take_while(|block| name_in(block) < name_in(own));
        blocks.insert(1 + before.count(), own);
    }
    fs::write(&path, blocks.join("\n\n") + "\n")?;
    Ok(())
}

/// A copy of the template without the files that git ignores, which may contain secrets. Without
/// git, all files are copied.
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
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
