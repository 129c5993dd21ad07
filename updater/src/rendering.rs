//! Renders the template of any commit. It uses cargo-generate, which runs the hooks of that commit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow, bail};
use cargo_generate::{GenerateArgs, TemplatePath, Vcs};
use generator::checksum;
use generator::files::copy;
use generator::generate::{Answers, sort_lock};
use generator::repository::template_files;
use tempfile::TempDir;

/// A rendering, which runs in a child process: cargo-generate prints each of its steps to stderr, and needs a
/// user name in the environment, which the template does not use.
#[derive(Debug, clap::Args)]
pub struct Rendering {
    /// A template, copied by [`stage`]
    pub template: PathBuf,
    /// Name of the project
    pub name: String,
    /// Directory of the project, which exists
    pub into: PathBuf,
    /// The values of cargo-generate's `--define`: KEY=VALUE
    pub values: Vec<String>,
}

/// The answers, and what is known besides, as values of a [`Rendering`].
pub fn values(answers: &Answers, more: [(&str, Option<String>); 3]) -> Vec<String> {
    let deploy = answers.deploy.as_ref();
    // An older template does not know the question: it gets no answer that is the default.
    let mainstay = answers.mainstay.clone().filter(|path| path != "mainstay");
    let answers = [
        ("database", answers.database.clone()),
        ("example", answers.example.clone()),
        ("deploy", deploy.map(|choices| choices.replace(' ', ""))),
        ("mainstay", mainstay),
    ];
    let given = answers.into_iter().chain(more);
    given
        .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
        .collect()
}

impl Rendering {
    /// Runs the updater, which is this program, as the child.
    pub fn run(&self, program: &Path) -> Result<()> {
        let mut child = Command::new(program);
        child.args(["render", "--"]).arg(&self.template);
        child.arg(&self.name).arg(&self.into).args(&self.values);
        let output = child.env("CARGO_NAME", "mainstay").output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let mut lines = said.lines().rev();
        let error = lines.find_map(|line| line.strip_prefix("error: "));
        bail!("{}", error.unwrap_or(&said))
    }

    /// Renders, in the child.
    pub fn render(self) -> Result<()> {
        let checksum = checksum::of(&self.template.join("template/mainstay"))?;
        let mut define = self.values;
        define.push(format!("checksum={checksum}"));
        cargo_generate::generate(GenerateArgs {
            template_path: TemplatePath {
                path: Some(self.template.to_string_lossy().into_owned()),
                ..TemplatePath::default()
            },
            name: Some(self.name.clone()),
            define,
            destination: Some(self.into.clone()),
            init: true,
            silent: true,
            quiet: true,
            no_workspace: true,
            vcs: Some(Vcs::None),
            ..GenerateArgs::default()
        })
        .map_err(|error| without_location(&error))?;
        sort_lock(&self.into, &self.name)
    }
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
    let files = template_files(repository)?.into_iter().map(PathBuf::from);
    copy(repository, files, staged.path())?;
    Ok(staged)
}
