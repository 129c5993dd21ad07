//! A template repository and a project, for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use generator::files::{copy, files};
use generator::{repository, succeed};
use rustix::fs::statvfs;
use tempfile::TempDir;
use updater::rendering::{Rendering, stage};

use crate::BRANCH;

const PROGRAM: &str = env!("CARGO_BIN_EXE_updater");

/// A template repository, and a project that was generated from its first commit.
pub(crate) struct World {
    pub(crate) place: TempDir,
    /// The project's directory in its repository; empty for the root.
    within: &'static str,
}

/// Uses memory if there is room: on a disk, creating and deleting files takes half of the time.
fn temporary_directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let has_room = statvfs(memory).is_ok_and(|it| it.f_bavail * it.f_frsize > 1 << 30);
    let place = if has_room {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    place.unwrap()
}

impl World {
    /// With the default answers: a copy of the first such world.
    pub(crate) fn new() -> Self {
        static FIRST: OnceLock<World> = OnceLock::new();
        let first = FIRST.get_or_init(|| Self::with(&[], ""));
        let place = temporary_directory();
        copy(first.place.path(), files(first.place.path()), place.path()).unwrap();
        let world = Self { place, within: "" };
        // The copies have other times than the index.
        git(&world.template(), "update-index -q --refresh");
        world.git("update-index -q --refresh");
        world
    }

    /// The same, with a newer template: a line of `src/main.rs` has changed.
    pub(crate) fn newer() -> Self {
        let world = Self::new();
        world.change_template("src/main.rs", "//! ", "//! Newer. ");
        world
    }

    /// With other answers, and with the project in a directory of its repository.
    pub(crate) fn with(answers: &[&str], within: &'static str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let world = Self { place, within };
        let current = stage(repository::root()).unwrap();
        copy(current.path(), files(current.path()), &world.template()).unwrap();
        git(&world.template(), "init -q -b main");
        commit(&world.template());
        let project = world.project();
        fs::create_dir_all(&project).unwrap();
        world.render(&project, answers);
        world.git("init -q -b main");
        world.commit();
        // Few files, for the copies.
        for repository in [world.template(), world.repository()] {
            git(&repository, "repack -a -d --quiet");
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
        let commit = git(&self.template(), "rev-parse HEAD");
        let mut values: Vec<_> = answers.iter().map(|&answer| answer.to_owned()).collect();
        values.push(format!("commit={commit}"));
        let rendering = Rendering {
            template: self.template(),
            name: "lookout".to_owned(),
            into: into.to_owned(),
            values,
        };
        rendering.run(Path::new(PROGRAM)).unwrap();
    }

    /// Commits a change of a file of the template.
    pub(crate) fn change_template(&self, file: &str, from: &str, to: &str) {
        replace(&self.template().join("template").join(file), from, to);
        commit(&self.template());
    }

    /// Commits a change of a file of the project.
    pub(crate) fn change(&self, file: &str, from: &str, to: &str) {
        replace(&self.project().join(file), from, to);
        self.commit();
    }

    pub(crate) fn commit(&self) {
        commit(&self.repository());
    }

    /// git in the project's repository.
    pub(crate) fn git(&self, arguments: &str) -> String {
        git(&self.repository(), arguments)
    }

    pub(crate) fn update(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut update = Command::new(PROGRAM);
        update.env("TMPDIR", self.place.path());
        update.arg("update").arg(self.project()).args(arguments);
        if !arguments.contains(&"--template") {
            update.arg("--template").arg(self.template());
        }
        update
    }

    /// Updates with this exit code, and returns what was printed to both streams.
    #[track_caller]
    pub(crate) fn ends_with(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.update(arguments);
        let said = text(&[output.stdout, output.stderr].concat());
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }

    /// Updates without conflicts, and returns what was printed.
    #[track_caller]
    pub(crate) fn updated(&self, arguments: &[&str]) -> String {
        self.ends_with(0, arguments)
    }

    /// Asserts that an update is refused with these words.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], words: &[&str]) {
        has(&self.ends_with(1, arguments), words);
    }

    #[track_caller]
    pub(crate) fn branch_has(&self, file: &str, text: &str) {
        has(&self.on_branch(file).unwrap(), &[text]);
    }

    /// A file of the project on the branch of the update.
    pub(crate) fn on_branch(&self, file: &str) -> Option<String> {
        let object = format!("{BRANCH}:./{file}");
        let mut show = Command::new("git");
        let output = show.args(["show", &object]).current_dir(self.project());
        let output = output.output().unwrap();
        output.status.success().then(|| text(&output.stdout))
    }
}

/// Runs git with these words, and returns its output without the last line end.
#[track_caller]
pub(crate) fn git(directory: &Path, arguments: &str) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=owner", "-c", "user.email=owner@localhost"]);
    succeed(git.args(arguments.split(' ')).current_dir(directory)).unwrap()
}

pub(crate) fn commit(directory: &Path) {
    git(directory, "add --all");
    git(directory, "commit -qnm change");
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
