//! Places: a project can be generated into a directory that exists, a git repository, a workspace;
//! and it takes nothing for that but the template.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use harness::generate::{Answers, Place, generate, staged};
use harness::repository;
use harness::variant::{cargo, files};

use crate::project;

#[test]
fn init_fills_the_directory_at_hand_and_touches_nothing_else() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("notes.txt"), "mine").expect("it can be written");

    let init = Place::Init(directory.path());
    let project = generate("my-svc", &Answers::default(), init).expect("it works");

    assert_eq!(
        project.canonicalize().ok(),
        directory.path().canonicalize().ok()
    );
    let notes = fs::read_to_string(directory.path().join("notes.txt")).expect("it is still there");
    assert_eq!(notes, "mine");
    cargo(
        &project,
        "my-svc",
        &["metadata", "--locked", "--format-version", "1"],
    );
}

#[test]
fn within_a_git_repository_no_second_one_is_made() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    git(directory.path(), &["init", "-q"]);

    let project = project("my-svc", directory.path());

    assert!(!project.join(".git").exists());
    let untracked = git(directory.path(), &["status", "--porcelain", "-uall"]);
    assert!(
        untracked.contains("my-svc/Cargo.toml"),
        "git sees the project: {untracked}"
    );
    assert!(
        !untracked.contains("my-svc/target/"),
        "and nothing that was built: {untracked}"
    );
}

#[test]
fn two_services_in_one_workspace_build_test_and_document_without_a_warning() {
    // Always at the same place, so that only what changed is built again.
    let home = repository::projects().join("workspace");
    _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).expect("the place for projects can be made");
    let manifest = "[workspace]\nresolver = \"3\"\nmembers = []\n";
    fs::write(home.join("Cargo.toml"), manifest).expect("it can be written");
    for name in ["left", "right-hand"] {
        project(name, &home);
    }
    // The workspace has a lock of its own; a member's knows what works.
    fs::copy(home.join("left/Cargo.lock"), home.join("Cargo.lock")).expect("it can be copied");

    for command in [
        &["build", "--workspace", "--offline"][..],
        &["test", "--workspace", "--offline"],
        &["doc", "--workspace", "--no-deps", "--offline"],
    ] {
        let output = cargo(&home, "two services in a workspace", command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !said.contains("warning"),
            "cargo {}:\n{said}",
            command.join(" ")
        );
    }
}

#[test]
fn generation_needs_no_network_and_runs_no_command() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // A namespace of its own has no network but a loopback that is down; an empty PATH, no commands.
    let output = Command::new("unshare")
        .args([
            "--map-root-user",
            "--net",
            "--",
            "/usr/bin/env",
            "PATH=/nonexistent",
        ])
        .arg(env!("CARGO_BIN_EXE_harness"))
        .args(["new", "alone", "--no-run", "--into"])
        .arg(directory.path())
        .env_remove("USER")
        .output()
        .expect("unshare, of util-linux, is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !said.contains("Could not"),
        "nothing was tried in vain: {said}"
    );

    let beside = tempfile::tempdir().expect("a temporary directory");
    let usual = project("alone", beside.path());
    let alone = directory.path().join("alone");
    assert_eq!(files(&usual), files(&alone));
    for file in files(&usual)
        .iter()
        .filter(|file| !file.ends_with(".template.toml"))
    {
        let [a, b] = [&usual, &alone].map(|root| fs::read(root.join(file)).expect("a file"));
        assert_eq!(a, b, "{}", file.display());
    }
}

#[test]
fn the_service_is_built_as_if_cargo_had_been_called_by_hand() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (cargo, told) = (
        directory.path().join("cargo"),
        directory.path().join("told"),
    );
    let script = format!("#!/bin/sh\nenv > '{}'\n", told.display());
    fs::write(&cargo, script).expect("it can be written");
    fs::set_permissions(&cargo, Permissions::from_mode(0o700)).expect("it can be made a program");

    let status = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(["new", "my-svc", "--into"])
        .arg(directory.path())
        .envs([("CARGO_PKG_NAME", "mainstay"), ("CARGO_MANIFEST_DIR", "/")])
        .env("CARGO_TARGET_DIR", "/theirs")
        .env("CARGO", &cargo)
        .status();

    assert!(status.expect("it is built").success());
    let told = fs::read_to_string(told).expect("cargo was called");
    // A build script that looks at these would run again for whoever has others.
    for name in ["CARGO_PKG_NAME=", "CARGO_MANIFEST_DIR="] {
        assert!(!told.contains(name), "{told}");
    }
    assert!(told.contains("CARGO_TARGET_DIR=/theirs"), "{told}");
}

#[test]
fn what_somebody_has_left_in_the_template_stays_there() {
    let checkout = tempfile::tempdir().expect("a temporary directory");
    let template = checkout.path().join("template");
    fs::create_dir(&template).expect("it can be made");
    let ignored = fs::read(repository::template().join(".gitignore")).expect("it is there");
    fs::write(template.join(".gitignore"), ignored).expect("it can be written");
    for name in [
        "kept.rs",
        ".env",
        ".env.local",
        "kept.rs.orig",
        ".kept.rs.swp",
        "kept.rs~",
    ] {
        fs::write(template.join(name), "SECRET=1\n").expect("it can be written");
    }
    git(checkout.path(), &["init", "-q"]);

    let taken = staged(checkout.path()).expect("it can be copied");

    let names: Vec<_> = files(taken.path()).into_iter().collect();
    assert_eq!(
        names,
        ["template/.gitignore", "template/kept.rs"].map(Path::new)
    );
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .output();
    let output = output.expect("git is installed");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
