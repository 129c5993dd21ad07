//! `cargo run -- update`: merges a newer template into a project that its owner has changed.
//!
//! Each test has a template repository of its own: the template of this checkout, and changes to it.

mod interruptions;
mod traps;
mod world;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use generator::files::files;

use crate::world::{World, git, has, text};

const BRANCH: &str = "mainstay-update-0.2.0";
const CONFLICTS: Option<i32> = Some(3);

#[test]
fn unchanged_project_becomes_a_newly_generated_one() {
    let world = World::new();
    // Both renderings get the bytes of the repository.
    git(&world.template(), &["config", "core.autocrlf", "true"]);
    world.change_template("src/main.rs", "//! ", "//! Newer. ");
    world.change_template("mainstay/src/context.rs", "//! ", "//! Newer. ");
    fs::write(world.template().join("template/src/extra.rs"), "// new\n").unwrap();
    fs::remove_file(world.template().join("template/deny.toml")).unwrap();
    world.commit_template();

    let said = world.updated(&[]);

    has(&said, &["new: src/extra.rs"]);
    git(&world.repository(), &["switch", "--quiet", BRANCH]);
    let fresh = world.place.path().join("fresh");
    fs::create_dir(&fresh).unwrap();
    world.render(&fresh, &[]);
    let names = files(&fresh);
    let found = files(&world.project()).into_iter();
    let found = found.filter(|file| !file.starts_with(".git"));
    assert!(
        found.eq(names
            .iter()
            .filter(|file| !file.starts_with(".git"))
            .cloned())
    );
    for name in names {
        let [ours, expected] =
            [&world.project(), &fresh].map(|root| fs::read(root.join(&name)).unwrap());
        assert_eq!(text(&ours), text(&expected), "{}", name.display());
    }
    assert_eq!(
        git(&world.repository(), &["log", "--format=%an", "-1", "main"]),
        "owner\n"
    );
}

#[test]
fn update_keeps_the_owners_lines_and_the_current_branch() {
    let world = World::new();
    world.change_template("src/main.rs", "//! ", "//! Newer. ");
    world.change_template("Dockerfile", "FROM ", "# Newer.\nFROM ");
    world.commit_template();
    world.change("src/hello.rs", "//! ", "//! Mine. ");
    fs::write(world.project().join("src/own.rs"), "// mine\n").unwrap();
    world.change(".template.toml", "commit = ", "# Mine.\ncommit = ");
    let script = world.project().join("build.rs");
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    world.commit();
    let before = git(&world.repository(), &["rev-parse", "main"]);

    world.updated(&[]);

    world.branch_has("src/main.rs", "Newer.");
    world.branch_has("Dockerfile", "# Newer.");
    world.branch_has("src/hello.rs", "//! Mine.");
    assert_eq!(world.on_branch("src/own.rs").unwrap(), "// mine\n");
    world.branch_has(".template.toml", "# Mine.\ncommit = ");
    let listed = git(&world.repository(), &["ls-tree", BRANCH, "build.rs"]);
    assert!(listed.starts_with("100755"), "{listed}");
    assert_eq!(git(&world.repository(), &["rev-parse", "main"]), before);
    assert_eq!(
        git(&world.repository(), &["branch", "--show-current"]),
        "main\n"
    );
    assert_eq!(git(&world.repository(), &["status", "--porcelain"]), "");
}

/// Both sides change the same line.
fn conflicting() -> World {
    let world = World::new();
    world.change_template("src/main.rs", "//! ", "//! Template. ");
    world.change_template("src/hello.rs", "//! ", "//! Newer. ");
    world.commit_template();
    world.change("src/main.rs", "//! ", "//! Owner. ");
    world.commit();
    world
}

#[test]
fn conflict_is_left_on_the_new_branch_for_merge_tools() {
    let world = conflicting();

    let output = world.update(&[]);

    let said = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        CONFLICTS,
        "{said}{}",
        text(&output.stderr)
    );
    has(
        &said,
        &["src/main.rs: you and the template changed the same lines"],
    );
    is_conflicted(&world);
    assert_eq!(
        git(&world.repository(), &["branch", "--show-current"]),
        format!("{BRANCH}\n")
    );
    // The owner resolves it, and commits.
    git(
        &world.repository(),
        &["checkout", "--theirs", "src/main.rs"],
    );
    git(
        &world.repository(),
        &["commit", "--quiet", "--all", "--no-edit"],
    );
    let subject = git(&world.repository(), &["log", "-1", "--format=%s"]);
    assert!(
        subject.starts_with("Update to Mainstay 0.2.0 ("),
        "{subject}"
    );
    assert_eq!(git(&world.repository(), &["status", "--porcelain"]), "");
}

/// Asserts that the working tree has the merge, with all versions of one conflict.
#[track_caller]
fn is_conflicted(world: &World) {
    let stages = git(&world.project(), &["ls-files", "--unmerged"]);
    assert_eq!(stages.lines().count(), 3, "{stages}");
    assert!(
        stages.lines().all(|line| line.ends_with("src/main.rs")),
        "{stages}"
    );
    let file = fs::read_to_string(world.project().join("src/main.rs")).unwrap();
    has(
        &file,
        &[
            "<<<<<<< HEAD",
            "//! Owner.",
            "//! Template.",
            ">>>>>>> mainstay/template",
        ],
    );
    let clean = fs::read_to_string(world.project().join("src/hello.rs")).unwrap();
    assert!(clean.contains("//! Newer."));
}

#[test]
fn dry_run_names_the_conflicts_and_changes_nothing() {
    let world = conflicting();
    let state = || {
        let refs = git(&world.repository(), &["for-each-ref"]);
        refs + &*git(&world.repository(), &["status", "--porcelain", "--ignored"])
    };
    let before = state();

    let output = world.update(&["--dry-run"]);

    let said = text(&output.stdout);
    assert_eq!(output.status.code(), CONFLICTS, "{said}");
    has(
        &said,
        &[
            "changed: ",
            "Conflicts:\n  src/main.rs: ",
            "Nothing was changed",
        ],
    );
    assert_eq!(state(), before);
}

#[test]
fn in_place_update_changes_the_work_tree_only() {
    let world = World::new();
    world.change_template("src/main.rs", "//! ", "//! Newer. ");
    world.commit_template();

    world.updated(&["--in-place"]);

    assert_eq!(
        git(
            &world.repository(),
            &["branch", "--format=%(refname:short)"]
        ),
        "main\n"
    );
    let changed = git(&world.repository(), &["status", "--porcelain"]);
    let expected = "M  .template.toml\nM  src/main.rs\n";
    assert_eq!(changed, expected);
}

#[test]
fn second_update_says_that_there_is_nothing_to_do() {
    let world = World::new();
    assert!(world.updated(&[]).ends_with("is up to date.\n"));
    world.change_template("src/main.rs", "//! ", "//! Newer. ");
    world.commit_template();
    world.updated(&[]);
    git(&world.repository(), &["merge", "--quiet", BRANCH]);
    assert!(world.updated(&[]).ends_with("is up to date.\n"));
    git(&world.template(), &["checkout", "--quiet", "HEAD~1"]);
    let refused = world.refused(&[]);
    has(&refused, &["has a newer template"]);
}

#[test]
fn new_answers_add_files_and_change_the_database() {
    let world = World::with(&["--deploy=docker"], "");
    world.change("src/main.rs", "//! ", "//! Mine. ");
    world.commit();

    let said = world.updated(&["--deploy", "docker,kubernetes", "--database", "postgres"]);

    has(&said, &["deploy/kubernetes/"]);
    world.branch_has("Cargo.toml", "features = [\"postgres\"]");
    world.branch_has(".template.toml", "database = \"postgres\"");
    world.branch_has("src/main.rs", "//! Mine.");
    let listed = git(
        &world.project(),
        &["ls-tree", "-r", "--name-only", BRANCH, "migrations"],
    );
    assert!(
        listed.contains("postgres/") && !listed.contains("sqlite/"),
        "{listed}"
    );
    let refused = world.refused(&["--deploy", "heroku"]);
    has(&refused, &["heroku", "systemd"]);
}

#[test]
fn project_in_a_subdirectory_is_updated_alone() {
    let world = World::with(&[], "services/lookout");
    fs::write(world.repository().join("README.md"), "all services\n").unwrap();
    world.change("src/hello.rs", "//! ", "//! Mine. ");
    world.commit();
    world.change_template("src/main.rs", "//! ", "//! Newer. ");
    world.commit_template();

    world.updated(&[]);

    let changed = git(
        &world.repository(),
        &["diff", "--name-only", "main", BRANCH],
    );
    let [record, main] =
        [".template.toml", "src/main.rs"].map(|file| format!("services/lookout/{file}"));
    assert_eq!(changed, format!("{record}\n{main}\n"));

    git(&world.repository(), &["branch", "--quiet", "-D", BRANCH]);
    let readme = world.repository().join("README.md");
    fs::write(&readme, "not committed\n").unwrap();
    let refused = world.refused(&[]);
    has(&refused, &["README.md"]);
    world.change_template("src/main.rs", "//! Newer", "//! Template");
    world.commit_template();
    world.change("src/main.rs", "//! ", "//! Owner. ");
    world.commit();
    assert_eq!(world.update(&[]).status.code(), CONFLICTS);
    let unmerged = ["diff", "--name-only", "--diff-filter=U"];
    assert_eq!(git(&world.repository(), &unmerged), format!("{main}\n"));
}

#[test]
fn update_refuses_what_is_not_committed() {
    let world = World::new();
    world.change("src/main.rs", "//! ", "//! Mine. ");
    let refused = world.refused(&[]);
    has(&refused, &["not committed", "src/main.rs"]);

    fs::remove_dir_all(world.repository().join(".git")).unwrap();
    let refused = world.refused(&[]);
    has(&refused, &["git init"]);
}
