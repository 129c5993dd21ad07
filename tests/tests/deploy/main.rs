//! The deployment of a project: it contains the chosen files, they agree with its settings, and
//! their commands work.

mod commands;
mod container;
mod data;
mod docker;
mod dockerfile;
mod github;
mod image;
mod kubernetes;
mod project;
mod readme;
mod systemd;

use std::collections::BTreeSet;

use crate::project::{CHOICES, NAME, PAIRS, Project};

#[test]
fn a_choice_brings_its_files_and_changes_no_other() {
    for (database, example) in PAIRS {
        let none = Project::of(database, example, &[]);
        let all = Project::of(database, example, &CHOICES);
        let mut together = none.paths();
        for choice in CHOICES {
            let one = Project::of(database, example, &[choice]);
            let brought = files_of(choice, database);
            let added: BTreeSet<_> = one.paths().difference(&none.paths()).cloned().collect();
            assert_eq!(added, brought, "{choice} with {database}");
            for (path, text) in &one.files {
                let same = all.text(path) == text
                    && none.files.get(path).is_none_or(|without| without == text);
                let tells = ["README.md", ".template.toml"].contains(&path.as_str());
                assert_eq!(same, !tells, "{choice} with {database}: {path}");
            }
            together.extend(brought);
        }
        assert_eq!(all.paths(), together, "{database}");
    }
}

/// The files that belong to a choice.
fn files_of(choice: &str, database: &str) -> BTreeSet<String> {
    let of_database = match database {
        "sqlite" => "deploy/kubernetes/volume.yaml",
        _ => "deploy/kubernetes/disruption.yaml",
    };
    let unit = format!("deploy/systemd/{NAME}.service");
    let files = match choice {
        "docker" => vec![".dockerignore", "Dockerfile"],
        "kubernetes" => vec![
            "deploy/kubernetes/deployment.yaml",
            "deploy/kubernetes/service.yaml",
            of_database,
        ],
        "systemd" => vec![unit.as_str()],
        _ => vec![".github/workflows/ci.yml", ".github/workflows/mainstay.yml"],
    };
    files.into_iter().map(str::to_owned).collect()
}

fn is_about_deployment(path: &str) -> bool {
    let files = ["Dockerfile", ".dockerignore", "AGENTS.md", "README.md"];
    path.starts_with(".github/") || path.starts_with("deploy/") || files.contains(&path)
}

#[test]
fn every_variable_that_is_named_sets_something() {
    for project in Project::all() {
        let mut settings = BTreeSet::from(["APP_".to_owned(), "APP_CONFIG".to_owned()]);
        for (section, keys) in project.defaults() {
            for key in keys.as_table().expect("a section").keys() {
                let variable = format!("APP__{section}__{key}").to_uppercase();
                settings.insert(format!("{variable}_FILE"));
                settings.insert(variable);
            }
        }
        let mut naming = BTreeSet::new();
        for (path, text) in project
            .files
            .iter()
            .filter(|(path, _)| is_about_deployment(path))
        {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for variable in words.filter(|word| word.starts_with("APP_")) {
                assert!(settings.contains(variable), "{path}: {variable}");
                naming.insert(path.to_owned());
            }
        }
        let unit = format!("deploy/systemd/{NAME}.service");
        let manifest = "deploy/kubernetes/deployment.yaml";
        let expected = ["Dockerfile", "README.md", manifest, &unit];
        assert_eq!(naming, expected.map(str::to_owned).into());
    }
}
