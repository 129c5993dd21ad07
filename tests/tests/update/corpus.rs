//! Projects of the last ten commits that changed the template, with an owner's changes: updated to this
//! checkout, they build and pass their tests, and no line of the owner is lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use harness::repository;
use harness::variant::cargo;

const COMMITS: usize = 10;

/// The limit for an update, without a build.
const LIMIT: Duration = Duration::from_secs(20);

/// A project, and the commit of the template that generates it.
#[derive(Debug, Clone)]
struct Case {
    commit: String,
    example: &'static str,
}

#[test]
fn edited_projects_of_three_commits_are_updated() {
    let commits = commits();
    let (newest, oldest) = (&commits[0], &commits[commits.len() - 1]);
    let middle = &commits[commits.len() / 2];
    for (commit, example) in [(newest, "hello"), (middle, "monitor"), (oldest, "hello")] {
        let case = Case {
            commit: commit.clone(),
            example,
        };
        check(&case);
    }
}

#[test]
#[ignore = "takes ten minutes: cargo test -p harness --test update of_ten -- --ignored"]
fn edited_projects_of_ten_commits_are_updated() {
    for commit in commits() {
        for example in ["hello", "monitor"] {
            let commit = commit.clone();
            check(&Case { commit, example });
        }
    }
}

/// The last commits that changed the template, the newest first. A shallow clone has fewer.
fn commits() -> Vec<String> {
    let count = format!("-{COMMITS}");
    let paths = ["cargo-generate.toml", "template"];
    let log = ["log", &count, "--format=%H", "--"];
    let listed = git(repository::root(), &[&log[..], &paths].concat());
    let commits: Vec<_> = listed.lines().map(str::to_owned).collect();
    assert!(!commits.is_empty(), "the repository has no history");
    commits
}

fn check(case: &Case) {
    // Always the same directory, so that cargo can reuse its builds.
    let project = repository::projects().join(format!("svc-updated-{}", case.example));
    _ = fs::remove_dir_all(&project);
    generate(case, &project);
    git(&project, &["init", "--quiet", "--initial-branch=main"]);
    commit(&project, "as generated");
    edit(case, &project);
    commit(&project, "the owner's changes");
    let added = added_lines(&project, "HEAD~1", "HEAD");

    let began = Instant::now();
    let mut update = Command::new(repository::updater());
    let updated = update.arg("update").arg(&project).output().unwrap();
    let took = began.elapsed();

    println!("{case:?}: {:?} after {took:?}", updated.status.code());
    assert!(took < LIMIT, "{case:?} took {took:?}");
    let is_conflicted = conflicts(case, &project, &updated);
    if !is_conflicted {
        let branch = git(&project, &["branch", "--format=%(refname:short)"]);
        let branch = branch
            .lines()
            .find(|name| name.starts_with("mainstay-update"));
        // There is none if the commit changed nothing that is generated.
        git(&project, &["switch", "--quiet", branch.unwrap_or("main")]);
    }
    for (file, lines) in added {
        let text = fs::read_to_string(project.join(&file)).unwrap_or_default();
        for line in lines {
            assert!(text.contains(&line), "{case:?}: {file} has lost {line:?}");
        }
    }
    if !is_conflicted {
        cargo(
            &project,
            "an updated project",
            &["test", "--offline", "--locked"],
        );
    }
}

/// Renders the template of a commit, as that commit's `cargo run -- new` does.
fn generate(case: &Case, project: &Path) {
    let files = tempfile::tempdir().unwrap();
    let index = tempfile::tempdir().unwrap();
    let mut checkout = Command::new("git");
    checkout.arg("--work-tree").arg(files.path());
    checkout.args([
        "checkout",
        "--quiet",
        &case.commit,
        "--",
        "cargo-generate.toml",
        "template",
    ]);
    checkout.env("GIT_INDEX_FILE", index.path().join("index"));
    succeed(checkout.current_dir(repository::root()));
    fs::create_dir_all(project).unwrap();
    let mut render = Command::new(repository::updater());
    render
        .arg("render")
        .args([files.path(), Path::new("svc-updated"), project]);
    render.args([
        format!("--example={}", case.example),
        format!("--commit={}", case.commit),
    ]);
    succeed(render.env("CARGO_NAME", "test"));
}

/// An owner's changes: a handler renamed, a setting changed, a module and a dependency added, a line
/// in the Dockerfile.
fn edit(case: &Case, project: &Path) {
    let file = |name: &str| project.join(name);
    let (module, handler, route) = match case.example {
        "hello" => ("src/hello.rs", "greet", "routes!(greet"),
        _ => ("src/targets/mod.rs", "remove", ", remove)"),
    };
    let renamed = |text: &str| text.replace(handler, "renamed");
    for line in [&format!("async fn {handler}("), route] {
        replace(&file(module), line, &renamed(line));
    }
    append(
        &file("config/default.toml"),
        "\n[shutdown]\n# Our load balancer is slow.\ndelay = \"100ms\"\n",
    );
    replace(
        &file("Cargo.toml"),
        "[dependencies]\n",
        "[dependencies]\nitoa = \"1\"\n",
    );
    replace(
        &file("src/main.rs"),
        "mod settings;\n",
        "mod own;\nmod settings;\n",
    );
    fs::write(
        file("src/own.rs"),
        "//! The owner's own.\n\n#[test]\nfn own_test_runs() {\n    assert_eq!(itoa::Buffer::new().format(7), \"7\");\n}\n",
    )
    .unwrap();
    append(&file("Dockerfile"), "LABEL team=\"ours\"\n");
    cargo(
        project,
        "a project",
        &["metadata", "--offline", "--format-version=1"],
    );
}

/// Whether there are conflicts. Each is in a file that both sides have changed.
fn conflicts(case: &Case, project: &Path, updated: &Output) -> bool {
    let said = String::from_utf8_lossy(&updated.stdout);
    let error = String::from_utf8_lossy(&updated.stderr);
    match updated.status.code() {
        Some(0) => false,
        Some(3) => {
            let unmerged = git(project, &["diff", "--name-only", "--diff-filter=U"]);
            assert!(!unmerged.is_empty(), "{said}");
            let ours = git(project, &["diff", "--name-only", "HEAD~1", "HEAD"]);
            let edited: Vec<_> = ours.lines().collect();
            for file in unmerged.lines() {
                assert!(edited.contains(&file), "{case:?}: {file} conflicts\n{said}");
            }
            println!("  conflicts: {}", unmerged.replace('\n', " "));
            true
        }
        _ => panic!("{case:?}: {said}{error}"),
    }
}

/// The lines that a commit adds, by file, without those of lock files.
fn added_lines(project: &Path, from: &str, to: &str) -> BTreeMap<String, Vec<String>> {
    let diff = git(project, &["diff", "--unified=0", "--no-renames", from, to]);
    let mut added: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut file = String::new();
    for line in diff.lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            name.clone_into(&mut file);
        } else if let Some(text) = line.strip_prefix('+')
            && file != "Cargo.lock"
        {
            added.entry(file.clone()).or_default().push(text.to_owned());
        }
    }
    assert!(added.len() >= 6, "{added:?}");
    added
}

fn replace(file: &PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

fn append(file: &PathBuf, text: &str) {
    let before = fs::read_to_string(file).unwrap();
    fs::write(file, before + text).unwrap();
}

fn commit(project: &Path, message: &str) {
    git(project, &["add", "--all"]);
    git(
        project,
        &["commit", "--quiet", "--no-verify", "--message", message],
    );
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=owner", "-c", "user.email=owner@localhost"]);
    succeed(git.args(arguments).current_dir(directory))
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
