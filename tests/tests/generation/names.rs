//! Names: each gives a project that builds. `updater/tests` tests those that are refused.

use std::fs;

use harness::generate::{Answers, generate};
use harness::lock::IN_PLACE;
use harness::variant::{Variant, cargo};
use harness::{lock, repository};

use crate::{assert_no_warnings, project, workspace};

#[test]
fn usable_name_gives_a_project_that_compiles_and_is_formatted() {
    let long = "a-name-of-sixty-characters-is-what-nobody-ever-wants-to-type";
    assert_eq!(long.len(), 60);
    let names = ["a", "my-svc", "my_svc", "x2", long];
    let alone = tempfile::tempdir().expect("a temporary directory");
    for name in names {
        let project = project(name, alone.path());
        assert_eq!(project, alone.path().join(name));
        cargo(&project, name, &["fmt", "--check"]);
        // Otherwise the first build would change a committed file.
        let lock = || fs::read_to_string(project.join("Cargo.lock")).expect("the file exists");
        let generated = lock();
        assert_no_warnings(&project, &["metadata", "--format-version", "1"]);
        assert!(lock() == generated, "{name}: cargo has changed the lock");
    }
    // In one workspace, so that the machinery is compiled once.
    let home = workspace("names", "members = [\"*\"]");
    for name in names {
        let answers = Answers {
            mainstay: (name != names[0]).then(|| format!("../{}/mainstay", names[0])),
            ..Answers::default()
        };
        generate(name, &answers, &home).expect("the project is generated");
    }
    let services = ["check", "--workspace", "--exclude", "mainstay"];
    assert_no_warnings(&home, &[&services[..], &["--all-targets"]].concat());
}

#[test]
fn names_of_dependencies_are_refused() {
    let lock =
        fs::read_to_string(repository::template().join("Cargo.lock")).expect("the file exists");
    let taken = repository::template().join("hooks/taken.rhai");
    let taken = fs::read_to_string(taken).expect("the file exists");
    let missing: Vec<_> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|name| !IN_PLACE.contains(name))
        .filter(|name| !taken.contains(&format!("\"{}\"", name.to_lowercase().replace('-', "_"))))
        .collect();
    assert_eq!(missing, [""; 0], "run `cargo run -- lock`");
}

#[test]
fn project_lock_is_the_tested_one() {
    let in_place = fs::read_to_string(repository::template().join("Cargo.lock")).expect("a lock");
    let folded = fs::read_to_string(lock::path()).expect("a lock");
    let current = lock::folded(&in_place).expect("cargo can be asked");
    assert!(folded == current, "run `cargo run -- lock`");
    // `--locked` fails if the lock has to change.
    for variant in Variant::all() {
        let project = variant.generate();
        project.cargo(&["metadata", "--locked", "--format-version", "1"]);
    }
}
