//! The git repository of a new project.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// Whether a directory is in a working tree of git.
pub fn is_inside(directory: &Path) -> Result<bool> {
    let output = run(directory, &["rev-parse", "--is-inside-work-tree"])?;
    Ok(output.status.success() && output.stdout.starts_with(b"true"))
}

/// Initializes a repository in a directory, with one commit of all files.
pub fn commit_all(directory: &Path, message: &str) -> Result<()> {
    let mut init = vec!["init", "--quiet"];
    if !is_configured(directory, "init.defaultBranch")? {
        init.extend(["--initial-branch", "main"]);
    }
    succeed(directory, &init)?;
    succeed(directory, &["add", "--all"])?;

    let mut commit = commit_options(directory)?;
    // Without hooks, which may ask questions.
    commit.extend(["commit", "--quiet", "--no-verify", "--message", message]);
    succeed(directory, &commit)
}

/// The options of git for a commit without questions: no signature, and an author if none is configured, since git
/// refuses a commit without one.
pub fn commit_options(directory: &Path) -> Result<Vec<&'static str>> {
    let mut options = vec!["-c", "commit.gpgSign=false"];
    let author = run(directory, &["var", "GIT_AUTHOR_IDENT"])?;
    if !author.status.success() {
        options.extend(["-c", "user.name=mainstay"]);
        options.extend(["-c", "user.email=mainstay@localhost"]);
    }
    Ok(options)
}

fn is_configured(directory: &Path, key: &str) -> Result<bool> {
    Ok(run(directory, &["config", key])?.status.success())
}

fn succeed(directory: &Path, arguments: &[&str]) -> Result<()> {
    let output = run(directory, arguments)?;
    ensure!(
        output.status.success(),
        "`git {}` failed in {}: {}",
        arguments.join(" "),
        directory.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn run(directory: &Path, arguments: &[&str]) -> Result<Output> {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(directory);
    git.output().context("git cannot be run")
}
