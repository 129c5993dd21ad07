//! Renders the template of any commit. It uses cargo-generate, which runs the hooks of that commit.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use cargo_generate::{GenerateArgs, TemplatePath, Vcs};
use generator::checksum;
use generator::files::copy;
use generator::generate::{Answers, sort_lock};
use generator::repository::template_files;
use tempfile::TempDir;

/// The inputs of a rendering, besides the answers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether the project is a member of a surrounding workspace.
    pub is_member: bool,
    /// The URL of the template's repository.
    pub source: Option<String>,
    /// The template's commit.
    pub commit: Option<String>,
}

/// Renders a template, copied by [`stage`], into a directory that exists.
pub fn render(
    staged: &Path,
    name: &str,
    answers: &Answers,
    facts: &Facts,
    into: &Path,
) -> Result<()> {
    cargo_generate::generate(GenerateArgs {
        template_path: TemplatePath {
            path: Some(staged.to_string_lossy().into_owned()),
            ..TemplatePath::default()
        },
        name: Some(name.to_owned()),
        define: definitions(answers, facts, staged)?,
        destination: Some(into.to_owned()),
        init: true,
        silent: true,
        quiet: true,
        no_workspace: true,
        vcs: Some(Vcs::None),
        ..GenerateArgs::default()
    })
    .map_err(|error| without_location(&error))?;
    sort_lock(into, name)
}

/// The values for cargo-generate's `--define`.
fn definitions(answers: &Answers, facts: &Facts, staged: &Path) -> Result<Vec<String>> {
    let deploy = answers.deploy.as_ref();
    let workspace = if facts.is_member { "member" } else { "alone" };
    let checksum = checksum::of(&staged.join("template/mainstay"))?;
    let given = [
        ("database", answers.database.clone()),
        ("example", answers.example.clone()),
        ("deploy", deploy.map(|choices| choices.replace(' ', ""))),
        ("mainstay", answers.mainstay.clone()),
        ("workspace", Some(workspace.to_owned())),
        ("source", facts.source.clone()),
        ("commit", facts.commit.clone()),
        ("checksum", Some(checksum)),
    ];
    let given = given.into_iter();
    Ok(given
        .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
        .collect())
}

/// The message of an error of cargo-generate, without the path and the line of the hook.
fn without_location(error: &anyhow::Error) -> anyhow::Error {
    let whole = format!("{error:#}");
    let message = whole.split_once("Runtime error: ");
    let message = message.map_or(&*whole, |(_, message)| message);
    let message = message.split(" (line ").next().unwrap_or(message);
    anyhow!("{}", message.trim_start_matches("⛔   "))
}

/// Copies the template, without the files that git ignores, to a temporary directory.
pub fn stage(repository: &Path) -> Result<TempDir> {
    let staged = tempfile::tempdir()?;
    let files = template_files(repository)?;
    copy(
        repository,
        files.into_iter().map(PathBuf::from),
        staged.path(),
    )?;
    Ok(staged)
}
