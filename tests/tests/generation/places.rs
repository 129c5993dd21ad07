//! Places: a project can be generated into a workspace, without the files of the template that git ignores.
//! `generator/tests` tests the others.

use std::fs;

use generator::git::git;
use harness::generate::{Answers, generate};
use harness::repository;

use crate::{assert_no_warnings, workspace};

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
fn ignored_files_of_the_template_are_not_copied() {
    let checkout = tempfile::tempdir().expect("a temporary directory");
    let template = checkout.path().join("template");
    fs::create_dir(&template).expect("the directory can be created");
    let list = repository::template().join(".gitignore");
    fs::copy(list, template.join(".gitignore")).expect("the file can be copied");
    let ignored = [".env", ".env.local", "kept.rs.orig", ".kept.rs.swp"];
    for name in ignored.into_iter().chain(["kept.rs~", "kept.rs"]) {
        fs::write(template.join(name), "SECRET=1\n").expect("the file can be written");
    }
    git(checkout.path(), &["init", "-q"]).expect("git runs");

    let mut listed = repository::template_files(checkout.path()).expect("git can be asked");

    listed.sort();
    assert_eq!(listed, ["template/.gitignore", "template/kept.rs"]);
}
