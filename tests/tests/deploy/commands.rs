//! A test runs every command in the deployment files, or docs/guarantees.md lists it as not run,
//! with the reason.

use std::collections::BTreeSet;
use std::fs;

use harness::repository;

use crate::github::NOT_RUN;
use crate::project::Project;
use crate::{dockerfile, github, kubernetes, systemd};

/// Where commands are. In this directory, a test of each file runs all of its commands.
const PLACES: [&str; 9] = [
    "Dockerfile ENTRYPOINT",
    "Dockerfile HEALTHCHECK",
    "Dockerfile RUN",
    "GitHub run",
    "Kubernetes livenessProbe",
    "Kubernetes readinessProbe",
    "Kubernetes startupProbe",
    "systemd ExecReload",
    "systemd ExecStart",
];

/// The instructions of a Dockerfile that start no program.
const STARTING_NOTHING: &str = "ARG COPY ENV EXPOSE STOPSIGNAL USER VOLUME WORKDIR";

#[test]
fn every_command_is_run_or_named_as_not_run() {
    let mut places = BTreeSet::new();
    let mut not_run = BTreeSet::new();
    for project in Project::all() {
        for stage in dockerfile::stages(project.text("Dockerfile")) {
            let instructions = stage.instructions.into_iter().map(|step| step.name);
            let starting = instructions.filter(|name| !STARTING_NOTHING.contains(name.as_str()));
            places.extend(starting.map(|name| format!("Dockerfile {name}")));
        }
        for (path, _) in kubernetes::commands(&project) {
            let of_probe = path
                .strip_prefix(".spec.template.spec.containers.[].")
                .and_then(|path| path.strip_suffix(".exec.command"));
            places.insert(format!("Kubernetes {}", of_probe.unwrap_or(&path)));
        }
        for (directive, _) in systemd::commands(&project) {
            places.insert(format!("systemd {directive}"));
        }
        for step in github::steps(&project) {
            let is_run = |run: &String| !NOT_RUN.contains(&run.as_str());
            if step.run.as_ref().is_some_and(is_run) {
                places.insert("GitHub run".to_owned());
            } else {
                not_run.extend(step.uses.or(step.run));
            }
        }
    }
    assert_eq!(places, PLACES.map(str::to_owned).into());
    assert_eq!(not_run, NOT_RUN.map(str::to_owned).into());

    let guarantees = repository::root().join("docs/guarantees.md");
    let guarantees = fs::read_to_string(guarantees).expect("the guarantees");
    for command in NOT_RUN {
        let is_named = guarantees.contains(&format!("| `{command}` |"));
        assert!(is_named, "docs/guarantees.md does not name {command}");
    }
}
