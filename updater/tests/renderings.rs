//! The renderer of `cargo run -- new` makes the same projects as cargo-generate, byte for byte, and
//! refuses the same names in the same words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use generator::files::files;
use generator::generate::{Answers, generate};
use generator::repository;
use tempfile::TempDir;
use updater::rendering::stage;

/// Where a project is: alone, or a member of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Alone,
    Member,
}

/// Both renderings: of cargo-generate first, and of the generator.
struct Both {
    template: TempDir,
    place: TempDir,
}

impl Both {
    fn new() -> Self {
        let template = stage(repository::root()).unwrap();
        let place = tempfile::tempdir().unwrap();
        for name in ["Alone", "Member"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let manifest = place.path().join("Member/Cargo.toml");
        fs::write(manifest, "[workspace]\n").unwrap();
        Self { template, place }
    }

    /// A new directory.
    fn directory(&self, place: Place) -> PathBuf {
        let root = self.place.path().join(format!("{place:?}"));
        tempfile::tempdir_in(root).unwrap().keep()
    }

    /// The directory of cargo-generate's project, or why it is refused.
    fn theirs(&self, name: &str, answers: &Answers, place: Place) -> Result<PathBuf, String> {
        let into = self.directory(place);
        let mut render = Command::new(env!("CARGO_BIN_EXE_updater"));
        render.arg("render");
        for (option, value) in [
            ("database", &answers.database),
            ("example", &answers.example),
            ("deploy", &answers.deploy),
            ("mainstay", &answers.mainstay),
            ("source", &repository::origin(repository::root())),
            ("commit", &repository::commit(repository::root())),
        ] {
            render.args(value.as_ref().map(|value| format!("--{option}={value}")));
        }
        if place == Place::Member {
            render.arg("--is-member");
        }
        let files = self.template.path();
        render.args([Path::new("--"), files, Path::new(name), &into]);
        let output = render.env("CARGO_NAME", "test").output().unwrap();
        if output.status.success() {
            return Ok(into);
        }
        let said = String::from_utf8(output.stderr).unwrap();
        let error = said.lines().find_map(|line| line.strip_prefix("error: "));
        Err(error.unwrap_or(&said).to_owned())
    }

    fn ours(&self, name: &str, answers: &Answers, place: Place) -> Result<PathBuf, String> {
        generate(name, answers, &self.directory(place)).map_err(|error| format!("{error:#}"))
    }

    fn assert_equal(&self, name: &str, answers: &Answers, place: Place) {
        let theirs = self.theirs(name, answers, place).unwrap();
        let ours = self.ours(name, answers, place).unwrap();
        let case = format!("{name:?} {answers:?} {place:?}");
        let names = files(&theirs);
        assert_eq!(names, files(&ours), "{case}");
        for file in names {
            let [a, b] = [&theirs, &ours].map(|root| fs::read(root.join(&file)).unwrap());
            assert!(
                a == b,
                "{case}: {}\n{}",
                file.display(),
                String::from_utf8_lossy(&b)
            );
        }
    }
}

fn answers(database: &str, example: &str, deploy: Option<&str>) -> Answers {
    Answers {
        database: Some(database.to_owned()),
        example: Some(example.to_owned()),
        deploy: deploy.map(str::to_owned),
        mainstay: None,
    }
}

#[test]
fn rendering_is_the_same_for_all_answers() {
    let both = Both::new();
    both.assert_equal("svc", &Answers::default(), Place::Alone);
    for deploy in ["", "docker", "kubernetes", "systemd", "github"] {
        for (database, example) in [("sqlite", "hello"), ("postgres", "monitor")] {
            let answers = answers(database, example, Some(deploy));
            both.assert_equal("svc", &answers, Place::Alone);
        }
    }
}

#[test]
fn rendering_is_the_same_in_a_workspace() {
    let both = Both::new();
    for (database, example) in [
        ("sqlite", "hello"),
        ("sqlite", "monitor"),
        ("postgres", "hello"),
        ("postgres", "monitor"),
    ] {
        let mut answers = answers(database, example, None);
        both.assert_equal("svc", &answers, Place::Member);
        answers.mainstay = Some("../lookout/mainstay".to_owned());
        both.assert_equal("svc", &answers, Place::Member);
        answers.deploy = Some("github, docker".to_owned());
        both.assert_equal("svc", &answers, Place::Alone);
    }
}

#[test]
fn rendering_is_the_same_for_odd_names() {
    let both = Both::new();
    let long = "a-name-of-sixty-characters-is-what-nobody-ever-wants-to-type";
    for name in [
        "a", "my_svc", "MySvc", "my svc-2", "X2y", "a__b", "zz_", long,
    ] {
        both.assert_equal(name, &Answers::default(), Place::Alone);
    }
}

#[test]
fn refusal_is_the_same() {
    let both = Both::new();
    let too_long = "x".repeat(64);
    for name in [
        "async",
        "Self",
        "core",
        "proc-macro",
        "build",
        "Futures-Core",
        "SerdeJson",
        "Log_",
        "2fast",
        "-svc",
        "naïve",
        "a/b",
        "",
        " ",
        "mainstay",
        &too_long,
    ] {
        let theirs = both.theirs(name, &Answers::default(), Place::Alone);
        let ours = both.ours(name, &Answers::default(), Place::Alone);
        assert_eq!(theirs.unwrap_err(), ours.unwrap_err(), "{name:?}");
    }
}

#[test]
fn init_fills_the_directory_and_keeps_other_files() {
    let both = Both::new();
    let into = tempfile::tempdir().unwrap();
    fs::write(into.path().join("notes.txt"), "mine").unwrap();
    let mut render = Command::new(env!("CARGO_BIN_EXE_updater"));
    render.arg("render");
    render.args([both.template.path(), Path::new("my-svc"), into.path()]);
    let output = render.env("CARGO_NAME", "test").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let notes = fs::read_to_string(into.path().join("notes.txt")).unwrap();
    assert_eq!(notes, "mine");
    assert!(into.path().join("Cargo.toml").exists());
}
