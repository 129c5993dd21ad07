//! A test runs every command in the deployment files, or docs/guarantees.md lists it as not run,
//! with the reason.

use std::collections::BTreeSet;
use std::fs;

use harness::repository;

use crate::github::NOT_RUN;
use crate::project::Project;
use crate::{dockerfile, github, kubernetes, systemd};

/// Where commands are, and the function in this directory that runs all of them.
const RUN: [(&str, &str); 9] = [
    ("Dockerfile ENTRYPOINT", IMAGE),
    ("Dockerfile HEALTHCHECK", IMAGE),
    ("Dockerfile RUN", IMAGE),
    ("GitHub run", "every_step_passes_in_a_new_project"),
    ("Kubernetes livenessProbe", POD),
    ("Kubernetes readinessProbe", POD),
    ("Kubernetes startupProbe", POD),
    ("systemd ExecReload", UNIT),
    ("systemd ExecStart", UNIT),
];
const IMAGE: &str = "image_serves_and_stops";
const POD: &str = "pod_starts_passes_its_probes_and_stops";
const UNIT: &str = "unit_starts_reloads_and_stops";

/// The instructions of a Dockerfile that start no program.
const STARTING_NOTHING: [&str; 8] = [
    "ARG",
    "COPY",
    "ENV",
    "EXPOSE",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

#[test]
fn every_command_is_run_or_named_as_not_run() {
    let mut places = BTreeSet::new();
    let mut not_run = BTreeSet::new();
    for project in Project::all() {
        for stage in dockerfile::stages(project.text("Dockerfile")) {
            let instructions = stage.instructions.into_iter().map(|step| step.name);
            let starting = instructions.filter(|name| !STARTING_NOTHING.contains(&name.as_str()));
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
    assert_eq!(places, RUN.map(|(place, _)| place.to_owned()).into());
    assert_eq!(not_run, NOT_RUN.map(str::to_owned).into());

    let sources = ["docker", "github", "kubernetes", "systemd"].map(|name| {
        let path = format!("tests/tests/deploy/{name}.rs");
        fs::read_to_string(repository::root().join(path)).expect("a source file of these tests")
    });
    let sources = sources.concat();
    for (place, function) in RUN {
        let is_there = sources.contains(&format!("fn {function}("));
        assert!(is_there, "{place}: there is no {function}");
    }
    let guarantees = repository::root().join("docs/guarantees.md");
    let guarantees = fs::read_to_string(guarantees).expect("the guarantees");
    for command in NOT_RUN {
        let is_named = guarantees.contains(&format!("| `{command}` |"));
        assert!(is_named, "docs/guarantees.md does not name {command}");
    }
}
