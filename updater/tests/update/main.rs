//! `cargo run -- update`: merges a newer template into a project that its owner has changed.
//!
//! Each test has a template repository of its own: the template of this checkout, and changes to it.

mod interruptions;
mod traps;
mod world;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use generator::files::files;

use crate::world::{World, git, has, replace, text};

const BRANCH: &str = "mainstay-update-0.2.0";
const CONFLICTS: i32 = 3;

#[test]
fn unchanged_project_becomes_a_newly_generated_one() {
    let world = World::newer();
    // Both renderings get the bytes of the repository.
    git(&world.template(), "config core.autocrlf true");
    fs::write(world.template().join("template/src/extra.rs"), "// new\n").unwrap();
    fs::remove_file(world.template().join("template/deny.toml")).unwrap();
    world.change_template("mainstay/src/context.rs", "//! ", "//! Newer. ");

    let said = world.updated(&[]);

    has(&said, &["new: src/extra.rs"]);
    world.git(&format!("switch --quiet {BRANCH}"));
    let fresh = world.place.path().join("fresh");
    fs::create_dir(&fresh).unwrap();
    world.render(&fresh, &[]);
    fs::remove_dir_all(world.repository().join(".git")).unwrap();
    let names = files(&fresh);
    assert_eq!(files(&world.project()), names);
    for name in names {
        let [ours, expected] =
            [&world.project(), &fresh].map(|root| fs::read(root.join(&name)).unwrap());
        assert_eq!(text(&ours), text(&expected), "{}", name.display());
    }
}

#[test]
fn update_keeps_the_owners_lines_and_the_current_branch() {
    let world = World::newer();
    world.change_template("Dockerfile", "FROM ", "# Newer.\nFROM ");
    let script = world.project().join("build.rs");
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    fs::write(world.project().join("src/own.rs"), "// mine\n").unwrap();
    world.change("src/hello.rs", "//! ", "//! Mine. ");
    world.change(".template.toml", "commit = ", "# Mine.\ncommit = ");
    let before = world.git("rev-parse main");

    world.updated(&[]);

    world.branch_has("src/main.rs", "Newer.");
    world.branch_has("Dockerfile", "# Newer.");
    world.branch_has("src/hello.rs", "//! Mine.");
    assert_eq!(world.on_branch("src/own.rs").unwrap(), "// mine\n");
    world.branch_has(".template.toml", "# Mine.\ncommit = ");
    let listed = world.git(&format!("ls-tree {BRANCH} build.rs"));
    assert!(listed.starts_with("100755"), "{listed}");
    assert_eq!(world.git("rev-parse main"), before);
    assert_eq!(world.git("branch --show-current"), "main");
    assert_eq!(world.git("status --porcelain"), "");
}

/// Both sides change the same line.
fn conflicting() -> World {
    let world = World::new();
    world.change_template("src/main.rs", "//! ", "//! Template. ");
    world.change_template("src/hello.rs", "//! ", "//! Newer. ");
    world.change("src/main.rs", "//! ", "//! Owner. ");
    world
}

#[test]
fn conflict_is_left_on_the_new_branch_for_merge_tools() {
    let world = conflicting();

    let said = world.ends_with(CONFLICTS, &[]);

    let advice = "src/main.rs: you and the template changed the same lines";
    has(&said, &[advice]);
    is_conflicted(&world);
    assert_eq!(world.git("branch --show-current"), BRANCH);
    // The owner resolves it, and commits.
    world.git("checkout --theirs src/main.rs");
    world.git("commit --quiet --all --no-edit");
    let subject = world.git("log -1 --format=%s");
    let expected = "Update to Mainstay 0.2.0 (";
    assert!(subject.starts_with(expected), "{subject}");
    assert_eq!(world.git("status --porcelain"), "");
}

/// Asserts that the working tree has the merge, with all versions of one conflict.
#[track_caller]
fn is_conflicted(world: &World) {
    let stages = world.git("ls-files --unmerged");
    assert_eq!(stages.lines().count(), 3, "{stages}");
    let is_main = |line: &str| line.ends_with("src/main.rs");
    assert!(stages.lines().all(is_main), "{stages}");
    let [main, hello] = ["src/main.rs", "src/hello.rs"]
        .map(|file| fs::read_to_string(world.project().join(file)).unwrap());
    has(&main, &["<<<<<<< HEAD", "//! Owner.", "//! Template."]);
    has(&main, &[">>>>>>> mainstay/template"]);
    has(&hello, &["//! Newer."]);
}

#[test]
fn dry_run_names_the_conflicts_and_changes_nothing() {
    let world = conflicting();
    let state = || ["for-each-ref", "status --porcelain --ignored"].map(|git| world.git(git));
    let before = state();

    let said = world.ends_with(CONFLICTS, &["--dry-run"]);

    has(&said, &["changed: ", "Conflicts:\n  src/main.rs: "]);
    has(&said, &["Nothing was changed"]);
    assert_eq!(state(), before);
}

#[test]
fn in_place_update_changes_the_work_tree_only() {
    let world = World::newer();

    world.updated(&["--in-place"]);

    assert_eq!(world.git("branch --format=%(refname:short)"), "main");
    let changed = world.git("status --porcelain");
    assert_eq!(changed, "M  .template.toml\nM  src/main.rs");
}

#[test]
fn second_update_says_that_there_is_nothing_to_do() {
    let world = World::new();
    assert!(world.updated(&[]).ends_with("is up to date.\n"));
    world.change_template("src/main.rs", "//! ", "//! Newer. ");
    world.updated(&[]);
    world.git(&format!("merge --quiet {BRANCH}"));
    assert!(world.updated(&[]).ends_with("is up to date.\n"));
    git(&world.template(), "checkout --quiet HEAD~1");
    world.refused(&[], &["has a newer template"]);
}

#[test]
fn new_answers_add_files_and_change_the_database() {
    let world = World::with(&["deploy=docker"], "");
    world.change("src/main.rs", "//! ", "//! Mine. ");

    let said = world.updated(&["--deploy", "docker,kubernetes", "--database", "postgres"]);

    has(&said, &["deploy/kubernetes/"]);
    world.branch_has("Cargo.toml", "features = [\"postgres\"]");
    world.branch_has(".template.toml", "database = \"postgres\"");
    world.branch_has("src/main.rs", "//! Mine.");
    let listed = world.git(&format!("ls-tree -r --name-only {BRANCH} migrations"));
    let is_replaced = listed.contains("postgres/") && !listed.contains("sqlite/");
    assert!(is_replaced, "{listed}");
    world.refused(&["--deploy", "heroku"], &["heroku", "systemd"]);
}

#[test]
fn project_in_a_subdirectory_is_updated_alone() {
    let world = World::with(&[], "services/lookout");
    let readme = world.repository().join("README.md");
    fs::write(&readme, "all services\n").unwrap();
    world.change("src/hello.rs", "//! ", "//! Mine. ");
    world.change_template("src/main.rs", "//! ", "//! Newer. ");

    world.updated(&[]);

    let changed = world.git(&format!("diff --name-only main {BRANCH}"));
    let [record, main] =
        [".template.toml", "src/main.rs"].map(|file| format!("services/lookout/{file}"));
    assert_eq!(changed, format!("{record}\n{main}"));

    world.git(&format!("branch --quiet -D {BRANCH}"));
    fs::write(&readme, "not committed\n").unwrap();
    world.refused(&[], &["README.md"]);
    world.change_template("src/main.rs", "//! Newer", "//! Template");
    world.change("src/main.rs", "//! ", "//! Owner. ");
    world.ends_with(CONFLICTS, &[]);
    assert_eq!(world.git("diff --name-only --diff-filter=U"), main);
}

#[test]
fn update_refuses_what_is_not_committed() {
    let world = World::new();
    replace(&world.project().join("src/main.rs"), "//! ", "//! Mine. ");
    world.refused(&[], &["not committed", "src/main.rs"]);

    fs::remove_dir_all(world.repository().join(".git")).unwrap();
    world.refused(&[], &["git init"]);
}
