//! README.md and AGENTS.md: everything that they name exists in the project.

use std::collections::BTreeSet;
use std::path::Path;

use crate::project::{CHOICES, PAIRS, Project};

#[test]
fn readme_names_what_is_there() {
    let choices = [
        ("docker", "### Docker"),
        ("kubernetes", "### Kubernetes"),
        ("systemd", "### systemd"),
        ("github", ".github/"),
    ];
    let one_each = CHOICES.chunks(1);
    let some: Vec<_> = one_each.chain([&[][..], &CHOICES]).collect();
    for (database, example) in PAIRS {
        for deploy in &some {
            let project = Project::of(database, example, deploy);
            let readme = project.text("README.md");
            for (choice, words) in choices {
                let is_chosen = deploy.contains(&choice);
                assert_eq!(readme.contains(words), is_chosen, "{deploy:?}: {words}");
            }
            let deploys = deploy.iter().any(|choice| *choice != "github");
            assert_eq!(readme.contains("\n## Deploy\n"), deploys, "{deploy:?}");
            let named = paths_named(readme).into_iter();
            for path in named.chain(paths_named(project.text("AGENTS.md"))) {
                let mut known = project.files.keys();
                let is_there = known.any(|known| Path::new(known).starts_with(path));
                // The first start creates it.
                let is_data = format!("sqlite:{path}") == project.default("database.url");
                assert!(is_there || is_data, "{database}, {deploy:?}: {path}");
            }
        }
    }
}

#[test]
fn readme_agrees_with_the_settings() {
    for (project, section) in Project::all().iter().zip(["hello", "monitor"]) {
        let readme = project.text("README.md");
        let phases = ["delay", "drain", "tasks", "close"];
        for key in phases.map(|phase| format!("shutdown.{phase}")) {
            let row = format!("\n| `{key}` | {} |", project.default(&key));
            assert!(readme.contains(&row), "{row}");
        }
        let grace = format!("`shutdown.grace`, {}:", project.default("shutdown.grace"));
        assert!(readme.contains(&grace), "{grace}");
        let listeners = ["http.listen", "operator.listen"].map(|key| project.default(key));
        for url in readme.split("http://").skip(1) {
            let address = url.split(['/', '>']).next().unwrap_or(url);
            let is_ours = listeners.iter().any(|listen| listen == address);
            assert!(is_ours, "{address}");
        }
        let defaults = project.defaults();
        let keys = codes(readme).filter_map(|code| {
            let key = code.split(' ').next()?;
            let (section, _) = key.split_once('.')?;
            defaults.contains_key(section).then_some(key)
        });
        let known: Vec<_> = keys.map(|key| project.default(key)).collect();
        assert!(known.len() > phases.len(), "{known:?}");
        assert!(defaults.contains_key(section));
        let section_name = format!("`[{section}]` in `config/default.toml`");
        assert!(readme.contains(&section_name), "{section_name}");
    }
}

/// The paths within the project that a Markdown text names.
fn paths_named(text: &str) -> BTreeSet<&str> {
    let is_path = |code: &&str| {
        let elsewhere = code.starts_with('/') || code.contains([' ', ':', '=']);
        let here = code.contains('/') || code.starts_with('.') || *code == "Dockerfile";
        here && !elsewhere
    };
    let mut paths: BTreeSet<_> = codes(text).filter(is_path).collect();
    // In code, only deployment files are named by path.
    let words = text.split_whitespace();
    paths.extend(words.filter(|word| word.starts_with("deploy/")));
    assert!(paths.contains("config/default.toml"), "{paths:?}");
    paths
}

/// The code spans of a line.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.lines().filter(|line| !line.starts_with("```"));
    prose.flat_map(|line| line.split('`').skip(1).step_by(2))
}
