//! The paths of this repository.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use generator::succeed;

pub use generator::repository::{commit, origin, root, template, template_files};

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
    built("generator", "new")
}

/// The binary behind `cargo run -- update` and `copy-data`, which is built first.
pub fn updater() -> PathBuf {
    built("updater", "update")
}

/// Builds a binary by building a suite of its package, with the features of the whole workspace. A build of the package
/// alone has other features, and would build cargo-generate again.
fn built(name: &str, suite: &str) -> PathBuf {
    let mut cargo = generator::cargo();
    cargo.args([
        "test",
        "--locked",
        "--workspace",
        "--no-run",
        "--test",
        suite,
    ]);
    let messages = succeed(cargo.arg("--message-format=json").current_dir(root()));
    let messages = messages.expect("the package can be built");
    let mut binaries = messages.lines().filter_map(|message| {
        let message: serde_json::Value = serde_json::from_str(message).ok()?;
        let is_binary = message["target"]["kind"][0] == "bin" && message["target"]["name"] == name;
        let executable = message["executable"].as_str().filter(|_| is_binary);
        executable.map(PathBuf::from)
    });
    binaries.next_back().expect("the package has a binary")
}
