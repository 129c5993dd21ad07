//! Where things are in this repository.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where this repository was cloned from, if it was.
pub fn origin() -> Option<String> {
    let mut git = Command::new("git");
    let output = git
        .args(["remote", "get-url", "origin"])
        .current_dir(root())
        .output()
        .ok()?;
    let url = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    // A path means nothing on another machine.
    (output.status.success() && url.contains("://")).then_some(url)
}

/// The template: the service that compiles in place.
pub fn template() -> PathBuf {
    root().join("template")
}

/// Where services are built, whatever their variant: they share most of what they are made of.
pub fn services() -> PathBuf {
    root().join("target/services")
}

/// Where projects are generated and kept between runs. Outside of the repository: within it, they
/// would become members of its workspace.
pub fn projects() -> PathBuf {
    let mut place = DefaultHasher::new();
    root().canonicalize().unwrap_or_default().hash(&mut place);
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("mainstay-{user}-{:08x}", place.finish() >> 32))
}
