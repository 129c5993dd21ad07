//! GitHub: the workflows.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use harness::generate::{Answers, generate};
use harness::repository;
use serde_json::{Value, json};

use crate::image::{build_alone, printed, shell};
use crate::project::{CHOICES, NAME, PAIRS, Project};

/// Steps that only GitHub's machines can run, or that take too long here: docs/guarantees.md lists
/// each with its reason.
pub(crate) const NOT_RUN: [&str; 5] = [
    "actions/cache",
    "actions/checkout",
    "cargo deny --locked --workspace check",
    "cargo install --locked \"cargo-deny@$CARGO_DENY\"",
    "cargo test --locked --workspace",
];

/// Replaces a tool that must not run on this machine: it records its arguments.
const STAND_IN: &str = "#!/bin/sh\necho \"$(basename \"$0\") $*\" >> \"$CALLS\"\n";

/// A step of a workflow.
#[derive(Debug)]
pub(crate) struct Step {
    /// An action of GitHub, without its version.
    pub(crate) uses: Option<String>,
    /// A script.
    pub(crate) run: Option<String>,
    environment: BTreeMap<String, String>,
}

pub(crate) fn steps(project: &Project) -> Vec<Step> {
    let workflows = project.files.keys();
    let workflows = workflows.filter(|path| path.starts_with(".github/workflows/"));
    let mut steps = Vec::new();
    for path in workflows {
        let workflow = project.yaml(path);
        for job in workflow["jobs"].as_object().expect("jobs").values() {
            for step in job["steps"].as_array().expect("steps") {
                let text = |key: &str| step[key].as_str().map(str::to_owned);
                let levels = [&workflow["env"], &job["env"], &step["env"]];
                let uses = text("uses");
                steps.push(Step {
                    uses: uses.and_then(|uses| Some(uses.split_once('@')?.0.to_owned())),
                    run: text("run"),
                    environment: levels.into_iter().flat_map(variables).collect(),
                });
            }
        }
    }
    steps
}

fn variables(environment: &Value) -> impl Iterator<Item = (String, String)> {
    let variables = environment.as_object().into_iter().flatten();
    variables.map(|(name, value)| {
        let value = value.as_str().expect("a text").to_owned();
        (name.clone(), value)
    })
}

#[test]
fn workflows_may_only_read_and_use_no_third_party() {
    for project in Project::all() {
        for workflow in ["ci", "mainstay"] {
            let workflow = project.yaml(&format!(".github/workflows/{workflow}.yml"));
            assert_eq!(workflow["permissions"], json!({ "contents": "read" }));
        }
        for uses in steps(&project).iter().filter_map(|step| step.uses.as_ref()) {
            assert!(uses.starts_with("actions/"), "{uses} is by a third party");
        }
    }
}

#[test]
fn workflows_check_what_the_readme_says() {
    for project in Project::all() {
        let steps = steps(&project);
        let run: Vec<_> = steps
            .iter()
            .filter_map(|step| step.run.as_deref())
            .collect();
        for check in ["cargo build --locked", "cargo doc --locked --no-deps"] {
            assert!(run.contains(&check), "{check}");
        }
        for (named, check) in [
            ("cargo test\n", "cargo test --locked"),
            ("cargo test --workspace", "cargo test --locked --workspace"),
            (
                "cargo clippy --all-targets -- -D warnings",
                "cargo clippy --locked --all-targets -- -D warnings",
            ),
            ("cargo fmt --check", "cargo fmt --check"),
        ] {
            assert!(project.text("README.md").contains(named), "{named}");
            assert!(run.contains(&check), "{check}");
        }
        let denies = run.iter().any(|run| run.starts_with("cargo deny"));
        let may = project.files.contains_key("deny.toml");
        assert_eq!(denies, may, "cargo deny and its settings belong together");
    }
}

#[test]
fn every_step_passes_in_a_new_project() {
    let _turn = build_alone();
    let (database, example) = PAIRS[0];
    let project = Project::of(database, example, &CHOICES);
    let place = repository::projects().join("workflows");
    _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).expect("a place for the project");
    let directory = generate(NAME, &Answers::default(), &place).expect("a project");
    let [tools, calls] = ["tools", "calls"].map(|name| place.join(name));

    for step in steps(&project) {
        let Some(run) = step.run.filter(|run| !NOT_RUN.contains(&run.as_str())) else {
            continue;
        };
        // The same shell options as on GitHub.
        let options = ["-e", "-c", &run];
        let mut bash = shell("bash", &options, &directory, &tools, ("rustup", STAND_IN));
        printed(bash.env("CALLS", &calls).envs(step.environment));
    }

    let rust = project.package("rust-version");
    let installed = [" --component clippy,rustfmt", ""].map(|components| {
        let install = format!("rustup toolchain install {rust} --profile minimal{components}");
        format!("{install}\nrustup default {rust}\n")
    });
    let called = fs::read_to_string(calls).expect("the calls of the stand-in");
    assert_eq!(called, installed.concat());
}

#[test]
fn job_in_comments_says_that_a_newer_template_exists() {
    let (database, example) = PAIRS[0];
    let project = Project::of(database, example, &CHOICES);
    let workflow = project.text(".github/workflows/ci.yml");
    let (before, job) = workflow
        .split_once("  # update:\n")
        .expect("the job in comments");
    let job = job.replace("\n  # ", "\n  ").replacen("  # ", "  ", 1);
    let workflow: Value =
        serde_saphyr::from_str(&format!("{before}  update:\n{job}")).expect("YAML");
    let steps = workflow["jobs"]["update"]["steps"]
        .as_array()
        .expect("steps");
    let script = steps[1]["run"].as_str().expect("a script");
    let directory = tempfile::tempdir().expect("a directory");
    let newest = repository::commit(repository::root()).expect("a commit");
    let newest = newest.trim_end_matches("-dirty");
    for (ours, says) in [(newest, ""), ("0123", "::warning::a newer template exists")] {
        let record = format!("[template]\ncommit = \"{ours}\"\n");
        fs::write(directory.path().join(".template.toml"), record).expect("the record");
        let mut bash = Command::new("bash");
        bash.args(["-e", "-c", script])
            .current_dir(directory.path());
        let output = bash
            .env("TEMPLATE", repository::root())
            .output()
            .expect("bash");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.starts_with(says),
            "{ours}: {printed}"
        );
        assert_eq!(printed.is_empty(), says.is_empty(), "{ours}: {printed}");
    }
}
