//! The paths of this repository, and its commit.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::files::files;
use crate::git::{git, is_inside};

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
    if !is_inside(repository) {
        let found = files(&repository.join("template")).into_iter();
        let found = found.map(|file| format!("template/{}", file.display()));
        return Ok(found.chain(["cargo-generate.toml".to_owned()]).collect());
    }
    let list = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let paths = ["cargo-generate.toml", "template"];
    let listed = git(repository, &[&list[..], &paths].concat())?;
    let files = listed.split_terminator('\0').map(str::to_owned);
    // git lists a deleted file until the deletion is committed.
    Ok(files
        .filter(|file| repository.join(file).is_file())
        .collect())
}

/// The URL that a repository was cloned from, if there is one.
pub fn origin(repository: &Path) -> Option<String> {
    // A local path is useless on another machine.
    let url = git(repository, &["remote", "get-url", "origin"]).ok();
    url.filter(|url| is_url(url))
}

/// Whether a place is a URL, or `host:path` as git writes it, and no local path.
pub fn is_url(place: &str) -> bool {
    let host = place.split_once(':').map(|(host, _)| host);
    host.is_some_and(|host| !host.is_empty() && !host.contains('/'))
}

/// The commit of a repository, with the suffix `-dirty` if files differ from it. `None` in a
/// copy without history.
pub fn commit(repository: &Path) -> Option<String> {
    // In a copy, git would report a surrounding repository.
    let within = git(repository, &["rev-parse", "--show-prefix"]).ok()?;
    let describe = ["describe", "--always", "--abbrev=40", "--exclude=*"];
    let commit = git(repository, &[&describe[..], &["--dirty"]].concat());
    commit.ok().filter(|_| within.is_empty())
}
