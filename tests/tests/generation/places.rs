//! Places: a project can be generated alone or into a workspace, without the files of the template that
//! git ignores.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use harness::generate::{Answers, generate};
use harness::repository;
use harness::variant::Variant;
use serde_json::Value;

use crate::{assert_no_warnings, project, workspace};

#[test]
fn lone_project_is_a_workspace_with_its_machinery() {
    let project = Variant::default().generate();
    let output = project.cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("valid JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let names: BTreeSet<_> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    assert_eq!(names, BTreeSet::from(["svc", "mainstay"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn workspace_without_machinery_gets_one_with_the_service() {
    let home = workspace("foreign", "members = [\"services/*\"]");
    fs::create_dir(home.join("services")).expect("the directory can be created");

    let monitor = Answers {
        example: Some("monitor".to_owned()),
        ..Answers::default()
    };
    let place = home.join("services");
    let project = generate("lookout", &monitor, &place).expect("a project");

    assert!(project.join("mainstay/Cargo.toml").exists());
    assert!(!project.join("Cargo.lock").exists());
    // Alone, without the features that tests enable: the service must name each feature that it
    // uses.
    assert_no_warnings(&home, &["check", "--package", "lookout"]);
}

#[test]
fn services_of_a_fleet_share_one_machinery() {
    let home = workspace("shared", "members = [\"*\"]\nexclude = [\"target\"]");
    project("lookout", &home);
    let answers = Answers {
        database: Some("postgres".to_owned()),
        example: Some("monitor".to_owned()),
        mainstay: Some("../lookout/mainstay".to_owned()),
        ..Answers::default()
    };

    let second = generate("watch", &answers, &home).expect("a project");

    assert!(!second.join("mainstay").exists());
    let record = fs::read_to_string(second.join(".template.toml")).expect("the file exists");
    let names_it = record.contains("mainstay = \"../lookout/mainstay\"");
    assert!(names_it && !record.contains("checksum"), "{record}");
    // The suite `variants` builds, lints and tests the fleet in this way.
    assert_no_warnings(&home, &["metadata", "--format-version", "1"]);
}

#[test]
fn ignored_files_of_the_template_are_not_copied() {
    let checkout = tempfile::tempdir().expect("a temporary directory");
    let template = checkout.path().join("template");
    fs::create_dir(&template).expect("the directory can be created");
    let list = repository::template().join(".gitignore");
    fs::copy(list, template.join(".gitignore")).expect("the file can be copied");
    let ignored = [
        ".env",
        ".env.local",
        "kept.rs.orig",
        ".kept.rs.swp",
        "kept.rs~",
    ];
    for name in ignored.into_iter().chain(["kept.rs"]) {
        fs::write(template.join(name), "SECRET=1\n").expect("the file can be written");
    }
    let mut git = Command::new("git");
    let init = git
        .args(["init", "-q"])
        .current_dir(checkout.path())
        .status();
    assert!(init.expect("git runs").success());

    let mut listed = repository::template_files(checkout.path()).expect("git can be asked");

    listed.sort();
    assert_eq!(listed, ["template/.gitignore", "template/kept.rs"]);
}
