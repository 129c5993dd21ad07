//! Names: each gives a project that builds, or is refused with a sentence that says why.

use std::fs;

use harness::generate::Answers;
use harness::repository;
use harness::variant::cargo;

use crate::{project, refusal};

#[test]
fn a_name_that_can_be_gives_a_project_that_builds_and_is_formatted() {
    let long = "a-name-of-sixty-characters-is-what-nobody-ever-wants-to-type";
    assert_eq!(long.len(), 60);
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in ["a", "my-svc", "my_svc", "x2", long] {
        let project = project(name, directory.path());
        assert_eq!(
            project,
            directory.path().join(name),
            "the directory is named like the project"
        );
        cargo(&project, name, &["fmt", "--check"]);
        cargo(&project, name, &["check", "--locked", "--all-targets"]);
    }
}

#[test]
fn a_name_that_cannot_be_is_refused_with_the_reason() {
    let too_long = "x".repeat(64);
    for (name, reason) in [
        ("async", "a word of the Rust language"),
        ("crate", "a word of the Rust language"),
        ("Self", "a word of the Rust language"),
        ("test", "comes with Rust"),
        ("core", "comes with Rust"),
        ("std", "comes with Rust"),
        ("proc-macro", "comes with Rust"),
        ("build", "cargo keeps a directory"),
        ("service", "the generated code has a module"),
        ("tokio", "the service depends on a crate"),
        ("config", "the service depends on a crate"),
        ("Futures-Core", "the service depends on a crate"),
        ("SerdeJson", "the service depends on a crate"),
        ("Log_", "the service depends on a crate"),
        ("2fast", "must begin with a letter"),
        ("-svc", "must begin with a letter"),
        ("naïve", "only letters, digits"),
        ("a/b", "only letters, digits"),
        ("", "empty"),
        (&too_long, "longer than 63"),
    ] {
        let words = refusal(name, &Answers::default());
        assert!(words.contains(reason), "{name:?} was refused with: {words}");
    }
}

#[test]
fn every_package_in_the_lock_is_a_name_that_is_taken() {
    let lock = fs::read_to_string(repository::template().join("Cargo.lock")).expect("it is there");
    let taken = repository::template().join("hooks/taken.rhai");
    let taken = fs::read_to_string(taken).expect("it is there");
    let missing: Vec<_> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|name| *name != "beacon")
        .filter(|name| !taken.contains(&format!("\"{}\"", name.to_lowercase().replace('-', "_"))))
        .collect();
    assert!(
        missing.is_empty(),
        "run `cargo run -- lock`; these are not taken: {missing:?}"
    );
}

#[test]
fn projects_get_the_versions_that_the_template_was_tested_with() {
    let read = |name: &str| fs::read_to_string(repository::template().join(name)).expect("a lock");
    let packages = |lock: &str| -> Vec<String> {
        let lines: Vec<_> = lock.lines().collect();
        let version = |at: usize| {
            lines[at + 1]
                .split('"')
                .nth(1)
                .expect("a version")
                .to_owned()
        };
        let named = lines.iter().enumerate().filter_map(|(at, line)| {
            let name = line.strip_prefix("name = \"")?.strip_suffix('"')?;
            (!["beacon", "{{ project-name }}"].contains(&name)).then(|| (name, version(at)))
        });
        let mut named: Vec<_> = named
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        // Of two versions of a package, either may come first.
        named.sort();
        named
    };
    let (in_place, folded) = (
        packages(&read("Cargo.lock")),
        packages(&read("Cargo.lock.liquid")),
    );
    assert!(in_place.len() > 100, "{in_place:?}");
    assert_eq!(in_place, folded, "run `cargo run -- lock`");
}
