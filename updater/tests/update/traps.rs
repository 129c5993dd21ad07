//! What a merge by lines gets wrong: each trap with its rule.

use std::fs;
use std::path::Path;
use std::process::Command;

use generator::files::files;

use crate::world::{World, git, text};
use crate::{BRANCH, CONFLICTS};

#[test]
fn edited_machinery_is_merged_and_reported() {
    let world = World::new();
    world.change_template("mainstay/src/context.rs", "//! ", "//! Newer. ");
    world.commit_template();
    world.change("mainstay/README.md", "# ", "# Mine: ");
    world.commit();

    let said = world.updated(&[]);

    assert!(
        said.contains("mainstay/ was edited in this project"),
        "{said}"
    );
    assert!(
        world
            .on_branch("mainstay/README.md")
            .unwrap()
            .contains("# Mine: ")
    );
    assert!(
        world
            .on_branch("mainstay/src/context.rs")
            .unwrap()
            .contains("Newer.")
    );
}

#[test]
fn deleted_files_and_directories_stay_deleted() {
    let world = World::new();
    world.change_template("AGENTS.md", "# ", "# Newer: ");
    fs::write(
        world
            .template()
            .join("template/deploy/kubernetes/extra.yaml"),
        "a: 1\n",
    )
    .unwrap();
    world.commit_template();
    git(
        &world.project(),
        &["rm", "-r", "--quiet", "AGENTS.md", "deploy/kubernetes"],
    );
    world.commit();

    let said = world.updated(&[]);

    for expected in [
        "AGENTS.md stays deleted",
        "deploy/kubernetes/ stays deleted",
    ] {
        assert_eq!(said.matches(expected).count(), 1, "{expected}: {said}");
    }
    for file in ["AGENTS.md", "deploy/kubernetes/extra.yaml"] {
        assert_eq!(world.on_branch(file), None, "{file}");
    }
}

#[test]
fn renamed_file_gets_the_changes_of_the_template() {
    let world = World::new();
    world.change_template("src/hello.rs", "//! ", "//! Newer. ");
    world.commit_template();
    git(&world.project(), &["mv", "src/hello.rs", "src/greeting.rs"]);
    world.commit();

    world.updated(&[]);

    assert_eq!(world.on_branch("src/hello.rs"), None);
    assert!(
        world
            .on_branch("src/greeting.rs")
            .unwrap()
            .contains("Newer.")
    );
}

#[test]
fn migrations_are_not_changed_and_late_ones_are_refused() {
    let world = World::new();
    let migrations = world.template().join("template/migrations/sqlite");
    let first = fs::read_dir(&migrations)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::write(&first, "-- changed\n").unwrap();
    fs::write(migrations.join("0002_late.sql"), "-- late\n").unwrap();
    world.commit_template();
    let own = world.project().join("migrations/sqlite/0002_mine.sql");
    fs::write(&own, "-- mine\n").unwrap();
    world.commit();

    let output = world.update(&[]);

    let said = text(&output.stdout);
    assert_eq!(output.status.code(), CONFLICTS, "{said}");
    for expected in [
        "is not changed",
        "0002_late.sql is not added",
        "0003_…sql",
        "-- late",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let name = format!("migrations/sqlite/{}", first.file_name().unwrap().display());
    assert_ne!(world.on_branch(&name).unwrap(), "-- changed\n");
    assert_eq!(world.on_branch("migrations/sqlite/0002_late.sql"), None);
    assert_eq!(
        world.on_branch("migrations/sqlite/0002_mine.sql").unwrap(),
        "-- mine\n"
    );
}

#[test]
fn lock_keeps_the_owners_dependency_and_fits_the_manifest() {
    let world = World::new();
    world.change_template("src/main.rs", "//! ", "//! Newer. ");
    world.commit_template();
    // A package that the template's own lock has, so that no network is needed.
    world.change(
        "Cargo.toml",
        "[dependencies]\n",
        "[dependencies]\nitoa = \"1\"\n",
    );
    let metadata = ["metadata", "--offline", "--format-version=1"];
    cargo(&world.project(), &metadata);
    world.commit();

    world.updated(&[]);

    git(&world.repository(), &["switch", "--quiet", BRANCH]);
    cargo(&world.project(), &[&metadata[..], &["--locked"]].concat());
}

fn cargo(directory: &Path, arguments: &[&str]) {
    let mut cargo = Command::new(generator::cargo());
    let output = cargo
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn missing_or_edited_record_is_named_with_its_cure() {
    let world = World::new();
    let first = git(&world.template(), &["rev-parse", "HEAD"]);
    world.change_template("src/main.rs", "//! ", "//! Newer. ");
    world.commit_template();
    world.change(".template.toml", "commit = \"", "commit = \"0");
    world.commit();
    let refused = world.refused(&[]);
    assert!(refused.contains("has no commit 0"), "{refused}");

    world.change(".template.toml", "commit = ", "# commit = ");
    world.commit();
    let refused = world.refused(&[]);
    assert!(refused.contains("--from REV"), "{refused}");

    git(&world.project(), &["rm", "--quiet", ".template.toml"]);
    world.commit();
    let refused = world.refused(&[]);
    assert!(
        refused.contains("no .template.toml") && refused.contains("--from REV"),
        "{refused}"
    );

    world.updated(&["--from", first.trim()]);
    assert!(world.on_branch("src/main.rs").unwrap().contains("Newer."));
}

#[test]
fn project_with_crlf_gets_crlf() {
    let world = World::new();
    world.change_template("src/main.rs", "//! ", "//! Newer. ");
    world.commit_template();
    for name in files(&world.project()) {
        let path = world.project().join(name);
        if let Ok(text) = fs::read_to_string(&path) {
            fs::write(&path, text.replace('\n', "\r\n")).unwrap();
        }
    }
    world.change("src/hello.rs", "//! ", "//! Mine. ");
    world.commit();

    world.updated(&[]);

    for (file, expected) in [
        ("src/main.rs", "//! Newer. "),
        ("src/hello.rs", "//! Mine. "),
    ] {
        let text = world.on_branch(file).unwrap();
        assert!(text.contains(expected), "{text}");
        assert_eq!(
            text.matches('\n').count(),
            text.matches("\r\n").count(),
            "{file}"
        );
    }
}

#[test]
fn project_without_machinery_gets_its_version() {
    let world = World::new();
    world.change_template(
        "mainstay/Cargo.toml",
        "version = \"0.2.0\"",
        "version = \"0.3.0\"",
    );
    world.commit_template();
    let path = "{ path = \"mainstay\", ";
    for _ in 0..2 {
        world.change("Cargo.toml", path, "{ version = \"0.2.0\", ");
    }
    world.change("Cargo.toml", "members = [\"mainstay\"]", "members = []");
    git(&world.project(), &["rm", "-r", "--quiet", "mainstay"]);
    world.commit();

    let said = world.updated(&[]);

    let manifest = world.on_branch("Cargo.toml").unwrap();
    assert_eq!(
        manifest.matches("{ version = \"0.3.0\", ").count(),
        2,
        "{manifest}{said}"
    );
    assert_eq!(world.on_branch("mainstay/src/context.rs"), None);
}
