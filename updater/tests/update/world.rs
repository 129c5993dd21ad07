//! A template repository and a project, for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use generator::files::{copy, files};
use generator::repository;
use tempfile::TempDir;
use updater::rendering::stage;

use crate::BRANCH;

const PROGRAM: &str = env!("CARGO_BIN_EXE_updater");

/// A template repository, and a project that was generated from its first commit.
pub(crate) struct World {
    pub(crate) place: TempDir,
    /// The project's directory in its repository; empty for the root.
    within: &'static str,
}

impl World {
    /// With the default answers: a copy of the first such world.
    pub(crate) fn new() -> Self {
        static FIRST: OnceLock<World> = OnceLock::new();
        let first = FIRST.get_or_init(|| Self::with(&[], ""));
        let place = tempfile::tempdir().unwrap();
        copy(first.place.path(), files(first.place.path()), place.path()).unwrap();
        let world = Self { place, within: "" };
        // The copies have other times than the index.
        git(&world.template(), &["update-index", "-q", "--refresh"]);
        git(&world.repository(), &["update-index", "-q", "--refresh"]);
        world
    }

    /// With other answers, and with the project in a directory of its repository.
    pub(crate) fn with(answers: &[&str], within: &'static str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let world = Self { place, within };
        let current = stage(repository::root()).unwrap();
        copy(current.path(), files(current.path()), &world.template()).unwrap();
        git(&world.template(), &["init", "-q", "-b", "main"]);
        world.commit_template();
        let project = world.project();
        fs::create_dir_all(&project).unwrap();
        world.render(&project, answers);
        git(&world.repository(), &["init", "-q", "-b", "main"]);
        commit(&world.repository());
        // Few files, for the copies.
        for repository in [world.template(), world.repository()] {
            git(&repository, &["repack", "-a", "-d", "--quiet"]);
        }
        world
    }

    pub(crate) fn template(&self) -> PathBuf {
        self.place.path().join("template")
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.place.path().join("repository")
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.repository().join(self.within)
    }

    /// Renders the template's commit into a directory.
    pub(crate) fn render(&self, into: &Path, answers: &[&str]) {
        let commit = git(&self.template(), &["rev-parse", "HEAD"]);
        let mut render = Command::new(PROGRAM);
        render
            .arg("render")
            .arg(self.template())
            .arg("lookout")
            .arg(into);
        render
            .args(answers)
            .arg(format!("--commit={}", commit.trim()));
        let output = render.env("CARGO_NAME", "test").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Changes a file of the template.
    pub(crate) fn change_template(&self, file: &str, from: &str, to: &str) {
        replace(&self.template().join("template").join(file), from, to);
    }

    pub(crate) fn commit_template(&self) {
        commit(&self.template());
    }

    /// Changes a file of the project.
    pub(crate) fn change(&self, file: &str, from: &str, to: &str) {
        replace(&self.project().join(file), from, to);
    }

    pub(crate) fn commit(&self) {
        commit(&self.repository());
    }

    pub(crate) fn update(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut update = Command::new(PROGRAM);
        update.arg("update").arg(self.project()).args(arguments);
        if !arguments.contains(&"--template") {
            update.arg("--template").arg(self.template());
        }
        update
    }

    /// Updates without conflicts, and returns what was printed.
    pub(crate) fn updated(&self, arguments: &[&str]) -> String {
        let output = self.update(arguments);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
        stdout
    }

    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.update(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr)
    }

    #[track_caller]
    pub(crate) fn branch_has(&self, file: &str, text: &str) {
        has(&self.on_branch(file).unwrap(), &[text]);
    }

    /// A file of the project on the branch of the update.
    pub(crate) fn on_branch(&self, file: &str) -> Option<String> {
        let object = format!("{BRANCH}:./{file}");
        let mut show = Command::new("git");
        let output = show
            .args(["show", &object])
            .current_dir(self.project())
            .output()
            .unwrap();
        output.status.success().then(|| text(&output.stdout))
    }
}

pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=owner", "-c", "user.email=owner@localhost"]);
    let output = git.args(arguments).current_dir(directory).output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

pub(crate) fn commit(directory: &Path) {
    git(directory, &["add", "--all"]);
    git(directory, &["commit", "-qnm", "change"]);
}

/// Asserts that a text has these parts.
#[track_caller]
pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn replace(file: &Path, from: &str, to: &str) {
    let before = fs::read_to_string(file).unwrap();
    assert!(before.contains(from), "{} has no {from:?}", file.display());
    fs::write(file, before.replacen(from, to, 1)).unwrap();
}
