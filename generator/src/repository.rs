//! The paths of this repository, and its commit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::files::files;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The template: a workspace that compiles in place.
pub fn template() -> PathBuf {
    root().join("template")
}

/// `cargo-generate.toml` and the files of `template/`, without those that git ignores, which may
/// contain secrets. Without git, all files are listed.
pub fn template_files(repository: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others"]).args([
        "--exclude-standard",
        "cargo-generate.toml",
        "template",
    ]);
    let listed = git.current_dir(repository).output();
    let Some(listed) = listed.ok().filter(|it| it.status.success()) else {
        let found = files(&repository.join("template")).into_iter();
        let found = found.map(|file| format!("template/{}", file.display()));
        return Ok(found.chain(["cargo-generate.toml".to_owned()]).collect());
    };
    let listed = String::from_utf8(listed.stdout)?;
    let files = listed.split_terminator('\0').map(str::to_owned);
    // git lists a deleted file until the deletion is committed.
    Ok(files
        .filter(|file| repository.join(file).is_file())
        .collect())
}

/// The URL that a repository was cloned from, if there is one.
pub fn origin(repository: &Path) -> Option<String> {
    // A local path is useless on another machine.
    git(repository, &["remote", "get-url", "origin"]).filter(|url| url.contains("://"))
}

/// The commit of a repository, with the suffix `-dirty` if files differ from it. `None` in a
/// copy without history.
pub fn commit(repository: &Path) -> Option<String> {
    // In a copy, git would report a surrounding repository.
    let within = git(repository, &["rev-parse", "--show-prefix"])?;
    if !within.is_empty() {
        return None;
    }
    let describe = ["describe", "--always", "--abbrev=40", "--exclude=*"];
    git(repository, &[&describe[..], &["--dirty"]].concat())
}

fn git(repository: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    let output = git.args(arguments).current_dir(repository).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    output.status.success().then_some(text)
}
