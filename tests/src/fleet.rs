//! The fleet: every service that the suites run, in one workspace that shares one machinery.
//!
//! Cargo unifies the features of packages that are built together. So all members are always built
//! together, and each dependency and the machinery is compiled once. `tests/faults` also enables
//! the features that the members' tests need, so that a build and a test of the workspace share
//! their dependencies.
//!
//! The workspace stays in the same directory between runs, and only changed files are written, so
//! that cargo rebuilds only what changed.

mod shape;

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Once, OnceLock};

use anyhow::{Context, Result};
use generator::git;

use crate::generate::{Answers, generate};
use crate::overlay;
use crate::repository;
use crate::variant::{PROFILE, cargo_with, copy, files};

/// A service in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    name: &'static str,
    database: &'static str,
    example: &'static str,
    /// The heading of a section of docs/compose.md: see [`shape`].
    shape: Option<&'static str>,
}

pub const HELLO: Member = Member::new("svc-hello", "sqlite", "hello");
pub const HELLO_ON_POSTGRES: Member = Member::new("svc-hello-postgres", "postgres", "hello");
pub const MONITOR: Member = Member::new("svc-monitor", "sqlite", "monitor");
pub const MONITOR_ON_POSTGRES: Member = Member::new("svc-monitor-postgres", "postgres", "monitor");
/// `hello` with the overlay `tests/faults`: deliberate faults.
pub const FAULTS: Member = Member::new("svc-faults", "sqlite", "hello");
pub const FAULTS_ON_POSTGRES: Member = Member::new("svc-faults-postgres", "postgres", "hello");

/// The other shapes of `app.rs` in docs/compose.md.
pub const TWO_LISTENERS: Member = Member::shape("svc-two-listeners", "A second public listener");
pub const NO_DATABASE: Member = Member::shape("svc-no-database", "No database");
pub const TWO_DATABASES: Member = Member::shape("svc-two-databases", "Two databases");
pub const ECHO_SERVER: Member =
    Member::shape("svc-echo-server", "A server that speaks another protocol");

/// The first member brings the machinery, which the others use.
pub const MEMBERS: [Member; 10] = [
    HELLO,
    HELLO_ON_POSTGRES,
    MONITOR,
    MONITOR_ON_POSTGRES,
    FAULTS,
    FAULTS_ON_POSTGRES,
    TWO_LISTENERS,
    NO_DATABASE,
    TWO_DATABASES,
    ECHO_SERVER,
];

/// A member with its own git repository, so that its build finds a commit.
const REPOSITORY: Member = HELLO_ON_POSTGRES;

impl Member {
    const fn new(name: &'static str, database: &'static str, example: &'static str) -> Self {
        Self {
            name,
            database,
            example,
            shape: None,
        }
    }

    const fn shape(name: &'static str, heading: &'static str) -> Self {
        Self {
            shape: Some(heading),
            ..Self::new(name, "sqlite", "hello")
        }
    }

    /// The name of its package.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether its `app.rs` no longer matches the tests of `hello`.
    pub fn is_shape(&self) -> bool {
        self.shape.is_some()
    }

    /// The project's directory, after the fleet was generated.
    pub fn directory(&self) -> PathBuf {
        directory().join(self.name)
    }

    /// The path of its binary. Generates and builds the whole fleet if needed; panics if that
    /// fails.
    pub fn binary(&self) -> PathBuf {
        // After a failure, all others fail at once.
        static BUILT: Once = Once::new();
        BUILT.call_once(|| drop(cargo(&["build", "--workspace"], &[])));
        repository::services().join("debug").join(self.name)
    }

    fn generate(&self, workspace: &Path) -> Result<()> {
        let machinery = format!("../{}/mainstay", MEMBERS[0].name);
        let answers = Answers {
            database: Some(self.database.to_owned()),
            example: Some(self.example.to_owned()),
            mainstay: (*self != MEMBERS[0]).then_some(machinery),
            ..Answers::default()
        };
        let project = generate(self.name, &answers, workspace)?;
        if matches!(*self, FAULTS | FAULTS_ON_POSTGRES) {
            overlay::put(&repository::root().join("tests/faults"), &project)?;
        }
        self.shape
            .map_or(Ok(()), |heading| shape::put(heading, &project))
    }
}

/// The directory of the workspace.
pub fn directory() -> PathBuf {
    repository::projects().join("fleet")
}

/// Runs cargo in the workspace, which is generated first if needed. Panics with the end of cargo's
/// output if it fails.
pub fn cargo(arguments: &[&str], environment: &[(&str, String)]) -> Output {
    static GENERATED: OnceLock<()> = OnceLock::new();
    GENERATED.get_or_init(|| {
        generate_all().unwrap_or_else(|error| panic!("the fleet cannot be generated: {error:#}"));
    });
    cargo_with(&directory(), "the fleet", arguments, environment)
}

/// Generates the workspace, unless it is up to date.
fn generate_all() -> Result<()> {
    let home = repository::projects();
    fs::create_dir_all(&home)?;
    // Several test processes may generate it at the same time.
    let lock = File::create(home.join("fleet.lock"))?;
    lock.lock()?;
    let (current, stamp) = (inputs()?, home.join("fleet.stamp"));
    if fs::read_to_string(&stamp).is_ok_and(|generated| generated == current) {
        return Ok(());
    }
    let scratch = tempfile::tempdir_in(&home)?;
    let fresh = scratch.path();
    fs::write(fresh.join("Cargo.toml"), format!("{MANIFEST}\n{PROFILE}"))?;
    for member in MEMBERS {
        let generated = member.generate(fresh);
        generated.with_context(|| format!("{} cannot be generated", member.name))?;
    }
    // cargo adds the dependencies of the overlays to the lock file, which stays until the template's changes.
    let lock = fs::read(repository::template().join("Cargo.lock"))?;
    fs::write(fresh.join("Cargo.lock.generated"), &lock)?;
    let is_known = fs::read(directory().join("Cargo.lock.generated")).is_ok_and(|it| it == lock);
    if is_known {
        copy(&directory(), ["Cargo.lock".into()], fresh)?;
    } else {
        fs::write(fresh.join("Cargo.lock"), lock)?;
    }
    settle(fresh, &directory())?;
    let repository = REPOSITORY.directory();
    _ = fs::remove_dir_all(repository.join(".git"));
    git::commit_all(&repository, "As generated")?;
    Ok(fs::write(stamp, current)?)
}

/// Makes `settled` equal to `fresh`, and touches only files that differ. A git repository in it
/// stays.
fn settle(fresh: &Path, settled: &Path) -> Result<()> {
    let wanted = files(fresh);
    for file in files(settled).difference(&wanted) {
        if !file.iter().any(|part| part == ".git") {
            fs::remove_file(settled.join(file))?;
        }
    }
    for file in wanted {
        if fs::read(settled.join(&file)).ok() != fs::read(fresh.join(&file)).ok() {
            copy(fresh, [file], settled)?;
        }
    }
    Ok(())
}

/// Cargo finds the members by name. They share one machinery because they depend on the same
/// package. They are not run in a debugger: names and lines in backtraces are enough.
const MANIFEST: &str = r#"[workspace]
resolver = "3"
members = ["svc-*"]

[profile.dev]
debug = "line-tables-only"
"#;

/// A hash of all inputs of the fleet.
fn inputs() -> Result<String> {
    let root = repository::root();
    let mut inputs = repository::template_files(root)?;
    for directory in ["generator/src", "tests/faults", "tests/src"] {
        let files = files(&root.join(directory)).into_iter();
        inputs.extend(files.map(|file| format!("{directory}/{}", file.display())));
    }
    inputs.push("docs/compose.md".to_owned());
    let mut hash = DefaultHasher::new();
    for file in inputs {
        (fs::read(root.join(&file))?, file).hash(&mut hash);
    }
    Ok(format!("{:016x}", hash.finish()))
}
