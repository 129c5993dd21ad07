//! `cargo run -- new`: the place of the service, its use of a surrounding workspace, and the error
//! messages.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use generator::files::files;
use generator::git::git;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_generator");

fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// `cargo run -- new NAME --no-run`, into a directory.
fn new(name: &str, into: &Path) -> Command {
    let mut new = Command::new(PROGRAM);
    new.args(["new", name, "--no-run", "--into"]).arg(into);
    new
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn generated(name: &str, into: &Path) -> String {
    let output = new(name, into).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stderr(&output)
}

fn refused(name: &str, into: &Path) -> String {
    let output = new(name, into).output().unwrap();
    assert!(!output.status.success(), "{name} is generated");
    stderr(&output)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// A new directory with a workspace, and its manifest with this line.
fn workspace(line: &str) -> (TempDir, PathBuf, String) {
    let place = place();
    let path = place.path().join("Cargo.toml");
    let manifest = format!("[workspace]\nresolver = \"3\"\n{line}\n");
    fs::write(&path, &manifest).unwrap();
    (place, path, manifest)
}

#[test]
fn new_says_where_the_service_is_and_how_to_start_it() {
    let place = place();
    let said = generated("my-svc", place.path());
    let project = place.path().canonicalize().unwrap().join("my-svc");
    assert_eq!(
        said,
        format!(
            "\nYour service is in {}\nStart it with `cargo run` in that directory.\n",
            project.display()
        )
    );
}

#[test]
fn new_refuses_in_one_sentence() {
    let place = place();
    let root = place.path().canonicalize().unwrap();
    let (taken, missing) = (root.join("my-svc"), root.join("missing"));
    fs::create_dir(&taken).unwrap();
    let exists = format!(
        "{} exists already. Choose another name, or another place with --into.",
        taken.display()
    );
    let no_place = format!("There is no directory {}.", missing.display());
    let reserved = "The project cannot be called \"async\": it is a word of the Rust language. \
                    Choose another one.";
    for (name, into, message) in [
        ("async", &root, reserved),
        ("my-svc", &root, &exists),
        ("MySvc", &root, &exists),
        ("my-svc", &missing, &no_place),
    ] {
        assert_eq!(refused(name, into), format!("error: {message}\n"));
    }
    assert!(files(&root).is_empty());
}

#[test]
fn new_makes_a_repository_with_a_commit() {
    let (place, home) = (place(), place());
    let output = new("my-svc", place.path())
        // git has no configured author.
        .env("HOME", home.path())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));

    let project = place.path().join("my-svc");
    let subjects = git(&project, &["log", "--format=%s"]).unwrap();
    assert_eq!(subjects, "Generate my-svc from the template Mainstay");
    assert_eq!(git(&project, &["status", "--porcelain"]).unwrap(), "");
    let listed = git(&project, &["ls-files"]).unwrap();
    assert!(listed.contains("mainstay/Cargo.toml"));
}

#[test]
fn new_leaves_a_repository_around_it_alone() {
    let place = place();
    git(place.path(), &["init", "-q"]).unwrap();
    generated("my-svc", place.path());
    assert!(!place.path().join("my-svc/.git").exists());
    let untracked = git(place.path(), &["status", "--porcelain", "-uall"]).unwrap();
    assert!(untracked.contains("my-svc/Cargo.toml"), "{untracked}");
}

#[test]
fn new_uses_the_machinery_of_the_workspace() {
    let (place, root, _) = workspace("members = [] # each service");
    generated("lookout", place.path());
    assert!(read(&root).contains("members = [\"lookout\"] # each service\n"));

    let said = generated("watch", place.path());

    assert!(said.contains("as a member of the workspace"), "{said}");
    assert!(read(&root).contains("members = [\"lookout\", \"watch\"] # each service\n"));
    let project = place.path().join("watch");
    assert!(read(&project.join("Cargo.toml")).contains("path = \"../lookout/mainstay\""));
    let record = read(&project.join(".template.toml"));
    let is_recorded = record.contains("mainstay = \"../lookout/mainstay\"");
    assert!(is_recorded && !record.contains("checksum"), "{record}");
    for left_out in ["mainstay", "Cargo.lock"] {
        assert!(!project.join(left_out).exists(), "{left_out}");
    }

    let output = new("third", place.path())
        .args(["--mainstay", "../nope/mainstay"])
        .output()
        .unwrap();
    let said = stderr(&output);
    assert!(
        said.contains("/nope/mainstay/Cargo.toml is not the machinery"),
        "{said}"
    );
    assert!(!place.path().join("third").exists());
}

#[test]
fn new_member_is_in_the_lock_of_its_workspace() {
    let place = place();
    generated("lookout", place.path());
    let lookout = place.path().join("lookout");
    generated("billing", &lookout);
    assert!(read(&lookout.join("Cargo.lock")).contains("name = \"billing\""));
    assert!(read(&lookout.join("Cargo.toml")).contains("members = [\"mainstay\", \"billing\"]"));
}

#[test]
fn new_adds_to_no_list_that_covers_the_service() {
    let (place, root, manifest) = workspace("members = [\"services/*\"]");
    let services = place.path().join("services");
    fs::create_dir(&services).unwrap();

    // cargo treats a pattern without a match as an error.
    let said = refused("lookout", &services);
    assert!(said.contains("--mainstay says where it is"), "{said}");

    let mut first = new("lookout", &services);
    let output = first.args(["--mainstay", "mainstay"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(read(&root), manifest);
    assert!(services.join("lookout/mainstay").exists());
}

#[test]
fn new_stands_alone_where_the_workspace_excludes_it() {
    let (place, root, manifest) = workspace("exclude = [\"apart\"]");
    fs::create_dir(place.path().join("apart")).unwrap();
    generated("lookout", &place.path().join("apart"));
    assert_eq!(read(&root), manifest);
    let project = place.path().join("apart/lookout");
    assert!(read(&project.join("Cargo.toml")).contains("[workspace]"));
    assert!(project.join("Cargo.lock").exists());
}

#[test]
fn new_refuses_a_name_that_the_workspace_has() {
    let (place, ..) = workspace("members = []");
    fs::create_dir(place.path().join("a")).unwrap();
    generated("lookout", &place.path().join("a"));
    let said = refused("lookout", place.path());
    assert!(
        said.ends_with(" has a package lookout already. Choose another name.\n"),
        "{said}"
    );
}

#[test]
fn new_needs_no_network_and_runs_no_command() {
    let (place, beside) = (place(), place());
    // The namespace has no network except a loopback that is down; the empty `PATH` has no
    // commands.
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "--", "/usr/bin/env"])
        .args(["PATH=/nonexistent", PROGRAM, "new", "alone", "--no-run"])
        .arg("--into")
        .arg(place.path())
        .env_remove("USER")
        .output()
        .expect("unshare, of util-linux, is installed");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("Your service is in"));

    generated("alone", beside.path());
    let [usual, alone] = [&beside, &place].map(|place| place.path().join("alone"));
    let is_content = |file: &&PathBuf| {
        // The record names the template's commit, which needs git.
        !file.starts_with(".git") && !file.ends_with(".template.toml")
    };
    let (names, there) = (files(&usual), files(&alone));
    let names: Vec<_> = names.iter().filter(is_content).collect();
    assert_eq!(names, there.iter().filter(is_content).collect::<Vec<_>>());
    for name in names {
        let [a, b] = [&usual, &alone].map(|root| fs::read(root.join(name)).unwrap());
        assert!(a == b, "{}", name.display());
    }
}

#[test]
fn new_starts_the_service_as_if_cargo_was_called_by_hand() {
    let place = place();
    let [cargo, environment] = ["cargo", "environment"].map(|name| place.path().join(name));
    let script = format!("#!/bin/sh\nenv > '{}'\n", environment.display());
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, Permissions::from_mode(0o700)).unwrap();

    let status = Command::new(PROGRAM)
        .args(["new", "my-svc", "--into"])
        .arg(place.path())
        .envs([("CARGO_PKG_NAME", "mainstay"), ("CARGO_MANIFEST_DIR", "/")])
        .env("CARGO_TARGET_DIR", "/theirs")
        .env("CARGO", &cargo)
        .status();

    assert!(status.unwrap().success());
    let environment = read(&environment);
    // A build script that depends on these would run again for a user with other values.
    for name in ["CARGO_PKG_NAME=", "CARGO_MANIFEST_DIR="] {
        assert!(!environment.contains(name), "{environment}");
    }
    assert!(environment.contains("CARGO_TARGET_DIR=/theirs"));
}
