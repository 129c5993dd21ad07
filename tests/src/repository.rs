//! The paths of this repository.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;

pub use generator::repository::{commit, origin, root, template};

/// The target directory of all services: the variants share most of their dependencies.
pub fn services() -> PathBuf {
    root().join("target/services")
}

/// The directory of generated projects, which stay between runs. It is outside of the repository:
/// within it, they would become members of its workspace.
pub fn projects() -> PathBuf {
    let mut place = DefaultHasher::new();
    root().canonicalize().unwrap_or_default().hash(&mut place);
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("mainstay-{user}-{:08x}", place.finish() >> 32))
}

/// The binary behind `cargo run -- new`, which is built first.
pub fn generator() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--package", "generator", "--message-format=json"])
        .current_dir(root());
    let output = cargo.output().expect("cargo runs");
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut executables = messages.lines().filter_map(|message| {
        let message: serde_json::Value = serde_json::from_str(message).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    let error = String::from_utf8_lossy(&output.stderr);
    executables
        .next_back()
        .unwrap_or_else(|| panic!("the generator cannot be built: {error}"))
}
