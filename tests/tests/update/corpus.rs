//! Projects of the last ten commits that changed the template, with an owner's changes: updated to this
//! checkout, they build and pass their tests, and no line of the owner is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use generator::succeed;
use harness::generate::{self, Answers};
use harness::repository;
use harness::tutorial::{self, Step};
use harness::variant::{cargo, cargo_with, files};

use crate::UPDATER;

const COMMITS: usize = 10;

/// The limit for an update, without a build.
const LIMIT: Duration = Duration::from_secs(20);

/// Texts that the owner puts before another text of a file. The tutorial comes in addition.
const INSERTED: &[(&str, &str, &str)] = &[
    ("config/default.toml", "\n[", SHUTDOWN),
    ("Cargo.toml", "axum = ", "itoa = \"1\"\n"),
    ("Dockerfile", "STOPSIGNAL", "LABEL team=\"ours\"\n"),
    ("openapi.json", "    \"/v1/", "    \"/v1/notes\": {},\n"),
];
const SHUTDOWN: &str = "\n[shutdown]\n# Our load balancer is slow.\ndelay = \"100ms\"\n";

/// The changes of the tutorial in the example that it does not describe.
const IN_MONITOR: &[(&str, &str, &str)] = &[
    ("src/main.rs", "mod paging;", "mod notes;\n"),
    (
        "src/app.rs",
        "    )\n)]\nstruct Api",
        "        (name = \"notes\", description = \"Notes\"),\n",
    ),
    (
        "src/app.rs",
        "    let targets = Targets::new(",
        "    let notes = crate::notes::Notes::new(database.clone());\n    \
         notes.spawn_retention(supervisor, settings.notes.keep)?;\n",
    ),
    (
        "src/app.rs",
        "    let api = OpenApiRouter::",
        "    let routes = routes.merge(crate::notes::routes(notes));\n",
    ),
    (
        "src/settings.rs",
        "    pub(crate) monitor: Monitor",
        "    pub(crate) notes: crate::notes::Settings,\n    #[garde(dive)]\n",
    ),
    (
        "config/default.toml",
        "[monitor]",
        "[notes]\n# How long a note is kept.\nkeep = \"30d\"\n\n",
    ),
    ("tests/service/main.rs", "mod routes;", "mod notes;\n"),
];

/// How often each line is in each file.
type Lines = BTreeMap<(PathBuf, String), usize>;

/// A commit of the template, and the example that it generates.
#[derive(Debug, Clone)]
struct Case {
    commit: String,
    example: &'static str,
}

#[test]
fn edited_projects_of_three_commits_are_updated() {
    let cases = cases();
    // Of the newest commit, of one in the middle, and of the oldest.
    for case in [0, cases.len() / 2 + 1, cases.len() - 2] {
        cases[case].update_and_build();
    }
}

#[test]
#[ignore = "builds twenty projects: cargo run -- test --test update of_ten -- --ignored"]
fn edited_projects_of_ten_commits_are_updated() {
    for case in cases() {
        case.update_and_build();
    }
}

/// The last commits that changed the template, the newest first. A shallow clone has fewer.
fn cases() -> Vec<Case> {
    let log = format!("log -{COMMITS} --format=%H -- cargo-generate.toml template");
    let listed = git(repository::root(), &log);
    assert!(!listed.is_empty(), "the repository has no history");
    let of = |commit: &str| {
        let commit = commit.to_owned();
        ["hello", "monitor"].map(|example| Case {
            commit: commit.clone(),
            example,
        })
    };
    listed.lines().flat_map(of).collect()
}

/// What the changelog asks of a service that derives `FromRow`, as the tutorial's does.
fn enable_derive(manifest: &Path) {
    let text = fs::read_to_string(manifest).unwrap();
    let sqlx = r#"sqlx = { version = "0.9", default-features = false"#;
    let derive = format!(r#"{sqlx}, features = ["derive"] }}"#);
    fs::write(manifest, text.replace(&format!("{sqlx} }}"), &derive)).unwrap();
}

impl Case {
    fn update_and_build(&self) {
        // Always the same directory, so that cargo can reuse its builds.
        let project = repository::projects().join(format!("svc-updated-{}", self.example));
        _ = fs::remove_dir_all(&project);
        if self.update(&project) {
            enable_derive(&project.join("Cargo.toml"));
            let name = format!("{self:?}, updated");
            let test = ["test", "--offline", "--locked"];
            let openapi = [&test[..], &["openapi"]].concat();
            cargo_with(&project, &name, &openapi, &[("UPDATE", "1".to_owned())]);
            cargo(&project, &name, &test);
        }
    }

    /// Updates an edited project, and compares its lines. False if conflicts are left.
    fn update(&self, project: &Path) -> bool {
        self.generate(project);
        git(project, "init -q -b main");
        commit(project, "generated");
        let old = lines(project);
        self.edit(project);
        commit(project, "edited");
        let ours = lines(project);

        let began = Instant::now();
        let mut update = Command::new(&*UPDATER);
        let updated = update.arg("update").arg(project).output().unwrap();
        let took = began.elapsed();

        println!("{self:?}: {:?} after {took:?}", updated.status.code());
        assert!(took < LIMIT, "{self:?} took {took:?}");
        let is_merged = updated.status.success();
        if is_merged {
            let branches = git(project, "branch --format=%(refname:short)");
            let mut branches = branches.lines();
            let branch = branches.find(|name| name.starts_with("mainstay-update"));
            // There is none if the commit changed nothing that is generated.
            let switch = format!("switch --quiet {}", branch.unwrap_or("main"));
            git(project, &switch);
        } else {
            assert_eq!(updated.status.code(), Some(3), "{self:?}: {updated:?}");
            only_overlapping_changes_conflict(project);
        }
        let place = tempfile::tempdir().unwrap();
        let answers = Answers {
            example: Some(self.example.to_owned()),
            ..Answers::default()
        };
        let new = generate::generate("svc-updated", &answers, place.path()).unwrap();
        let (new, result) = (lines(&new), lines(project));
        let keys: BTreeSet<_> = [&old, &ours, &new, &result]
            .map(Lines::keys)
            .into_iter()
            .flatten()
            .collect();
        for key in keys {
            let [old, ours, new, result] =
                [&old, &ours, &new, &result].map(|lines| lines.get(key).copied().unwrap_or(0));
            // The new template with the owner's changes. A conflict has the lines of both sides.
            let is_kept = if is_merged && key.0 != Path::new("openapi.json") {
                result + old == new + ours
            } else {
                result + old >= ours
            };
            assert!(
                is_kept,
                "{self:?}: {key:?} is there {result} times after {old}, {ours}, {new}"
            );
        }
        is_merged
    }

    /// Generates the project, as `cargo run -- new` of that commit does.
    fn generate(&self, project: &Path) {
        let template = tempfile::tempdir().unwrap();
        let archive = template.path().join("template.tar");
        let (to, commit) = (archive.display(), &self.commit);
        let export = format!("archive --output={to} {commit} cargo-generate.toml template");
        git(repository::root(), &export);
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(&archive).arg("-C");
        succeed(unpack.arg(template.path())).unwrap();
        fs::create_dir_all(project).unwrap();
        let mut render = Command::new(&*UPDATER);
        render.arg("render").arg(template.path());
        render.arg("svc-updated").arg(project);
        render.arg(format!("example={}", self.example));
        render.arg(format!("commit={}", self.commit));
        succeed(render.env("CARGO_NAME", "test")).unwrap();
    }

    /// An owner's changes: those of the tutorial, a renamed handler, a setting, a dependency, and a line in
    /// the Dockerfile.
    fn edit(&self, project: &Path) {
        let (module, handler, route, inserted) = match self.example {
            "hello" => ("src/hello.rs", "greet", "routes!(greet", &[][..]),
            _ => ("src/targets/mod.rs", "remove", ", remove)", IN_MONITOR),
        };
        let page = format!("show {}:docs/tutorial.md", self.commit);
        let page = git(repository::root(), &page);
        for step in tutorial::read(&page) {
            match step {
                // The example has three migrations.
                Step::File { path, content } if self.example == "monitor" => {
                    let path = path.replace("0002", "0004");
                    Step::File { path, content }.apply(project);
                }
                Step::Change { .. } if self.example == "monitor" => {}
                step => step.apply(project),
            }
        }
        for (path, before, text) in INSERTED.iter().chain(inserted) {
            replace(&project.join(path), before, &format!("{text}{before}"));
        }
        for line in [&format!("async fn {handler}("), route] {
            let renamed = line.replace(handler, "renamed");
            replace(&project.join(module), line, &renamed);
        }
        let metadata = ["metadata", "--offline", "--format-version=1"];
        cargo(project, "a project", &metadata);
    }
}

/// The lines of a project. The lock is merged in another way, and the record is replaced.
fn lines(project: &Path) -> Lines {
    let mut lines = Lines::new();
    for file in files(project) {
        let name = file.to_string_lossy();
        if name.starts_with(".git/") || ["Cargo.lock", ".template.toml"].contains(&&*name) {
            continue;
        }
        for line in fs::read_to_string(project.join(&file)).unwrap().lines() {
            *lines.entry((file.clone(), line.to_owned())).or_default() += 1;
        }
    }
    lines
}

/// Asserts that both sides have changed the same lines of each file with a conflict, or adjoining ones.
fn only_overlapping_changes_conflict(project: &Path) {
    let unmerged = git(project, "diff --name-only --diff-filter=U");
    assert!(!unmerged.is_empty(), "there is no conflict");
    for file in unmerged.lines() {
        println!("  conflict: {file}");
        let [ours, theirs] = [2, 3].map(|stage| changed(project, file, stage));
        let overlap = |one: &RangeInclusive<usize>, other: &RangeInclusive<usize>| {
            one.start() <= other.end() && other.start() <= one.end()
        };
        let overlaps = ours
            .iter()
            .any(|one| theirs.iter().any(|other| overlap(one, other)));
        assert!(overlaps, "{file}: {ours:?}, {theirs:?}");
    }
}

/// What a side of a conflict has changed of the common file: from one gap between its lines to another.
fn changed(project: &Path, file: &str, side: u8) -> Vec<RangeInclusive<usize>> {
    let diff = format!("diff --unified=0 :1:{file} :{side}:{file}");
    let diff = git(project, &diff);
    let hunks = diff
        .lines()
        .filter_map(|line| line.strip_prefix("@@ -")?.split(' ').next());
    let range = |hunk: &str| {
        let (line, count) = hunk.split_once(',').unwrap_or((hunk, "1"));
        let (line, count): (usize, usize) = (line.parse().unwrap(), count.parse().unwrap());
        // An insertion is after this line; a change begins with it.
        let start = line - count.min(1);
        start..=start + count
    };
    hunks.map(range).collect()
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

fn commit(project: &Path, message: &str) {
    git(project, "add --all");
    git(project, &format!("commit -qnm {message}"));
}

/// Runs git with these words, and returns its output without the last line end.
#[track_caller]
fn git(directory: &Path, arguments: &str) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=owner", "-c", "user.email=owner@localhost"]);
    succeed(git.args(arguments.split(' ')).current_dir(directory)).unwrap()
}
