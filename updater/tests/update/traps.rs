//! What a merge by lines gets wrong: each trap with its rule.

use std::fs;

use generator::files::files;

use crate::world::{World, commit, git, has, replace};
use crate::{BRANCH, CONFLICTS};

#[test]
fn edited_machinery_is_merged_and_reported() {
    let world = World::new();
    world.change_template("mainstay/src/context.rs", "//! ", "//! Newer. ");
    world.change("mainstay/README.md", "# ", "# Mine: ");

    let said = world.updated(&[]);

    has(&said, &["mainstay/ was edited in this project"]);
    world.branch_has("mainstay/README.md", "# Mine: ");
    world.branch_has("mainstay/src/context.rs", "Newer.");
}

#[test]
fn deleted_files_and_directories_stay_deleted() {
    let world = World::new();
    let deploy = world.template().join("template/deploy/kubernetes");
    fs::write(deploy.join("extra.yaml"), "a: 1\n").unwrap();
    world.change_template("AGENTS.md", "# ", "# Newer: ");
    world.git("rm -r --quiet AGENTS.md deploy/kubernetes");
    world.commit();

    let said = world.updated(&[]);

    for name in ["AGENTS.md", "deploy/kubernetes/"] {
        let expected = format!("{name} stays deleted");
        assert_eq!(said.matches(&expected).count(), 1, "{expected}: {said}");
    }
    for file in ["AGENTS.md", "deploy/kubernetes/extra.yaml"] {
        assert_eq!(world.on_branch(file), None, "{file}");
    }
}

#[test]
fn renamed_file_gets_the_changes_of_the_template() {
    let world = World::new();
    world.change_template("src/hello.rs", "//! ", "//! Newer. ");
    world.git("mv src/hello.rs src/greeting.rs");
    world.commit();

    world.updated(&[]);

    assert_eq!(world.on_branch("src/hello.rs"), None);
    world.branch_has("src/greeting.rs", "Newer.");
}

#[test]
fn migrations_are_not_changed_and_late_ones_are_refused() {
    let world = World::new();
    let migrations = world.template().join("template/migrations/sqlite");
    let first = files(&migrations).pop_first().unwrap();
    fs::write(migrations.join(&first), "-- changed\n").unwrap();
    fs::write(migrations.join("0002_late.sql"), "-- late\n").unwrap();
    commit(&world.template());
    let own = world.project().join("migrations/sqlite/0002_mine.sql");
    fs::write(&own, "-- mine\n").unwrap();
    world.commit();

    let said = world.ends_with(CONFLICTS, &[]);

    has(&said, &["is not changed", "0002_late.sql is not added"]);
    has(&said, &["0003_…sql", "-- late"]);
    let on_branch = |name: &str| world.on_branch(&format!("migrations/sqlite/{name}"));
    let first = on_branch(first.to_str().unwrap());
    assert_ne!(first.unwrap(), "-- changed\n");
    assert_eq!(on_branch("0002_late.sql"), None);
    assert_eq!(on_branch("0002_mine.sql").unwrap(), "-- mine\n");
}

#[test]
fn migration_that_the_template_removed_stays() {
    let world = World::new();
    let migrations = world.template().join("template/migrations/sqlite");
    fs::remove_dir_all(&migrations).unwrap();
    fs::create_dir(&migrations).unwrap();
    fs::write(migrations.join("0009_all.sql"), "-- all\n").unwrap();
    commit(&world.template());

    let said = world.updated(&[]);

    has(
        &said,
        &["is not removed", "new: migrations/sqlite/0009_all.sql"],
    );
    assert!(!said.contains("removed: migrations"), "{said}");
}

#[test]
fn commit_is_fetched_from_the_recorded_url() {
    let world = World::new();
    let other = world.place.path().join("other");
    let url = format!("file://{}", world.template().display());
    git(&world.template(), "clone --quiet . ../other");
    fs::remove_dir_all(other.join(".git")).unwrap();
    replace(&other.join("template/src/main.rs"), "//! ", "//! Newer. ");
    git(&other, "init --quiet");
    commit(&other);
    let other = ["--template", other.to_str().unwrap()];
    world.refused(&other, &["has no commit"]);
    let source = format!("source = \"{url}\"");
    world.change(".template.toml", "source = \"mainstay\"", &source);

    world.updated(&other);

    world.branch_has("src/main.rs", "Newer.");
}

#[test]
fn lock_keeps_the_owners_dependency_and_fits_the_manifest() {
    let world = World::newer();
    // A package that the template's own lock has, so that no network is needed.
    let dependencies = "[dependencies]\n";
    let manifest = world.project().join("Cargo.toml");
    replace(
        &manifest,
        dependencies,
        &format!("{dependencies}itoa = \"1\"\n"),
    );
    let metadata = |options: &[&str]| {
        let mut cargo = generator::cargo();
        cargo.args(["metadata", "--offline", "--format-version=1"]);
        let output = cargo.args(options).current_dir(world.project()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    metadata(&[]);
    world.commit();

    world.updated(&[]);

    world.git(&format!("switch --quiet {BRANCH}"));
    metadata(&["--locked"]);
}

#[test]
fn missing_or_edited_record_is_named_with_its_cure() {
    let world = World::newer();
    let first = git(&world.template(), "rev-parse HEAD~1");
    world.change(".template.toml", "commit = \"", "commit = \"0");
    world.refused(&[], &["has no commit 0"]);

    world.change(".template.toml", "commit = ", "# commit = ");
    world.refused(&[], &["--from REV"]);

    world.git("rm --quiet .template.toml");
    world.commit();
    world.refused(&[], &["no .template.toml", "--from REV"]);

    world.updated(&["--from", &first]);
    world.branch_has("src/main.rs", "Newer.");
}

#[test]
fn project_with_crlf_gets_crlf() {
    let world = World::newer();
    for name in files(&world.project()) {
        let path = world.project().join(name);
        if let Ok(text) = fs::read_to_string(&path) {
            fs::write(&path, text.replace('\n', "\r\n")).unwrap();
        }
    }
    world.change("src/hello.rs", "//! ", "//! Mine. ");

    world.updated(&[]);

    for (file, expected) in [
        ("src/main.rs", "//! Newer. "),
        ("src/hello.rs", "//! Mine. "),
    ] {
        let text = world.on_branch(file).unwrap();
        assert!(text.contains(expected), "{text}");
        let [ends, both] = ["\n", "\r\n"].map(|end| text.matches(end).count());
        assert_eq!(ends, both, "{file}");
    }
}

#[test]
fn project_without_machinery_gets_its_version() {
    let world = World::new();
    let (old, new) = ("version = \"0.2.0\"", "version = \"0.3.0\"");
    world.change_template("mainstay/Cargo.toml", old, new);
    for _ in 0..2 {
        world.change(
            "Cargo.toml",
            "{ path = \"mainstay\", ",
            "{ version = \"0.2.0\", ",
        );
    }
    world.change("Cargo.toml", "members = [\"mainstay\"]", "members = []");
    world.git("rm -r --quiet mainstay");
    world.commit();

    let said = world.updated(&[]);

    let manifest = world.on_branch("Cargo.toml").unwrap();
    let times = manifest.matches("{ version = \"0.3.0\", ").count();
    assert_eq!(times, 2, "{manifest}{said}");
    assert_eq!(world.on_branch("mainstay/src/context.rs"), None);
}
