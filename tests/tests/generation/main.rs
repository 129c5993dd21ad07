//! Generation creates a clean project of any name, in any place, from the template alone, or
//! refuses with a reason.

mod cleanliness;
mod guard;
mod names;
mod places;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use generator::checksum;
use harness::generate::{Answers, generate};
use harness::variant::{PROFILE, Variant, cargo, files};
use harness::{lock, repository};

/// Generates a project with all defaults into `directory`.
fn project(name: &str, directory: &Path) -> PathBuf {
    generate(name, &Answers::default(), directory)
        .unwrap_or_else(|error| panic!("{name} cannot be generated: {error:#}"))
}

/// An empty workspace, always in the same directory, so that cargo rebuilds only what changed.
fn workspace(name: &str, members: &str) -> PathBuf {
    let home = repository::projects().join(name);
    _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).expect("the directory of projects can be created");
    let manifest = format!("[workspace]\nresolver = \"3\"\n{members}\n\n{PROFILE}");
    fs::write(home.join("Cargo.toml"), manifest).expect("the file can be written");
    // The versions that the template was tested with; cargo removes what is not needed.
    let lock = repository::template().join("Cargo.lock");
    fs::copy(lock, home.join("Cargo.lock")).expect("the files can be copied");
    home
}

/// Runs a cargo command in a workspace, and asserts that it prints no warning.
fn assert_no_warnings(home: &Path, command: &[&str]) {
    let output = cargo(home, "a workspace", &[command, &["--offline"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("warning"), "{command:?}:\n{said}");
}

#[test]
fn wrong_answer_is_refused_by_name() {
    // Earlier versions had the example `none`.
    for (question, answer, wrong) in [
        ("database", "oracle", "oracle"),
        ("example", "blog", "blog"),
        ("example", "none", "none"),
        ("deploy", "docker,heroku", "heroku"),
    ] {
        let given = |to| (to == question).then(|| answer.to_owned());
        let answers = Answers {
            database: given("database"),
            example: given("example"),
            deploy: given("deploy"),
            mainstay: None,
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let refused = generate("svc", &answers, directory.path()).expect_err(answer);
        let words = format!("{refused:#}");
        assert!(words.contains(wrong) && words.contains(question), "{words}");
        let left = fs::read_dir(directory.path()).expect("a directory");
        assert_eq!(left.count(), 0, "{answer} left files behind");
    }
}

#[test]
fn project_records_what_it_was_generated_from() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let answers = Answers {
        database: Some("postgres".to_owned()),
        example: Some("monitor".to_owned()),
        deploy: Some("github,docker".to_owned()),
        mainstay: None,
    };
    let project = generate("my-svc", &answers, directory.path()).expect("it works");

    let version = env!("CARGO_PKG_VERSION");
    let source = repository::origin(repository::root()).unwrap_or_else(|| "mainstay".to_owned());
    let commit = repository::commit(repository::root()).unwrap_or_else(|| "unknown".to_owned());
    let checksum = checksum::of(&project.join("mainstay")).expect("it can be read");
    let expected = toml::toml! {
        [template]
        version = version
        source = source
        commit = commit
        checksum = checksum

        [answers]
        project-name = "my-svc"
        database = "postgres"
        example = "monitor"
        deploy = ["github", "docker"]
        mainstay = "mainstay"
    };
    assert_eq!(record(&project), expected);
}

#[test]
fn recorded_checksum_is_what_a_shell_computes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let project = project("my-svc", directory.path());
    let text = fs::read_to_string(project.join(".template.toml")).expect("the file exists");
    let command = text.lines().find_map(|line| line.strip_prefix("# find "));
    let command = format!("find {}", command.expect("the record has the command"));

    let mut sh = Command::new("sh");
    let output = sh
        .args(["-c", &command])
        .current_dir(project.join("mainstay"))
        .output();

    let said = String::from_utf8(output.expect("sh runs").stdout).expect("text");
    let recorded = &record(&project)["template"]["checksum"];
    assert_eq!(said.split(' ').next(), recorded.as_str());
}

#[test]
fn checksum_of_the_template_is_up_to_date() {
    let hook = repository::template().join("hooks/mainstay.rhai");
    let committed = fs::read_to_string(hook).expect("the file exists");
    let current = lock::machinery_hook().expect("the template can be read");
    assert_eq!(committed, current, "run `cargo run -- lock`");
}

fn record(project: &Path) -> toml::Table {
    let record = fs::read_to_string(project.join(".template.toml")).expect("the file exists");
    record.parse().expect("valid TOML")
}

#[test]
fn mainstay_is_the_same_in_every_project() {
    let template = repository::template().join("mainstay");
    let listed = repository::template_files(repository::root()).expect("the template's files");
    let names = listed
        .iter()
        .filter_map(|file| file.strip_prefix("template/mainstay/"));
    let names: BTreeSet<PathBuf> = names.map(PathBuf::from).collect();
    assert!(names.len() > 50, "is this test looking? {names:?}");
    let mut variants = Variant::all();
    variants.push(Variant::default().deploy(&[]));
    for variant in variants {
        let project = variant.generate();
        let copy = project.dir().join("mainstay");
        assert_eq!(files(&copy), names, "{}", project.name());
        for name in &names {
            let [a, b] = [&template, &copy].map(|root| fs::read(root.join(name)).expect("a file"));
            assert!(a == b, "{}: mainstay/{}", project.name(), name.display());
        }
    }
}

#[test]
fn hello_has_few_lines_of_its_owner() {
    for database in ["sqlite", "postgres"] {
        let project = Variant::default().database(database).generate();
        let lines_in = |place: &str| -> usize {
            let files = files(project.dir()).into_iter();
            let rust = files.filter(|name| name.extension().is_some_and(|kind| kind == "rs"));
            let here = rust.filter(|name| name.starts_with(place) && !name.starts_with("mainstay"));
            let texts = here.map(|name| fs::read_to_string(project.dir().join(name)));
            texts.map(|text| text.expect("text").lines().count()).sum()
        };
        for (place, limit) in [("src", 400), ("tests", 300), ("", 700)] {
            let lines = lines_in(place);
            let is_small = (50..limit).contains(&lines);
            assert!(is_small, "{database}: {lines} lines in {place:?}");
        }
    }
}

#[test]
fn overlay_of_the_measurements_fits() {
    let project = Variant::default().with("contenders").generate();
    assert!(project.dir().join("src/bin").exists(), "{project:?}");
}
