//! The paths of this repository.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;

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
    built("generator")
}

/// The binary behind `cargo run -- update` and `copy-data`, which is built first.
pub fn updater() -> PathBuf {
    built("updater")
}

fn built(package: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package", package, "--message-format=json"]);
    let messages = succeed(cargo.current_dir(root())).expect("the package can be built");
    let mut executables = messages.lines().filter_map(|message| {
        let message: serde_json::Value = serde_json::from_str(message).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().expect("the package has a binary")
}
