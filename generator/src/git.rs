//! git, and the repository of a new project.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::succeed;

/// Runs git in a directory, and returns its output without the last line end.
pub fn git(directory: &Path, arguments: &[&str]) -> Result<String> {
    succeed(Command::new("git").args(arguments).current_dir(directory))
}

/// Whether a directory is in a working tree of git.
pub fn is_inside(directory: &Path) -> bool {
    git(directory, &["rev-parse", "--is-inside-work-tree"]).is_ok_and(|is| is == "true")
}

/// Initializes a repository in a directory, with one commit of all files.
pub fn commit_all(directory: &Path, message: &str) -> Result<()> {
    let mut init = vec!["init", "--quiet"];
    if git(directory, &["config", "init.defaultBranch"]).is_err() {
        init.extend(["--initial-branch", "main"]);
    }
    git(directory, &init)?;
    git(directory, &["add", "--all"])?;

    let mut commit = commit_options(directory);
    // Without hooks, which may ask questions.
    commit.extend(["commit", "--quiet", "--no-verify", "--message", message]);
    git(directory, &commit).map(drop)
}

/// The options of git for a commit without questions: no signature, and an author if none is configured, since git
/// refuses a commit without one.
pub fn commit_options(directory: &Path) -> Vec<&'static str> {
    let mut options = vec!["-c", "commit.gpgSign=false"];
    if git(directory, &["var", "GIT_AUTHOR_IDENT"]).is_err() {
        options.extend(["-c", "user.name=mainstay"]);
        options.extend(["-c", "user.email=mainstay@localhost"]);
    }
    options
}
