//! Links have targets, and the tests that pages name exist.

use std::fs;

use harness::repository;
use harness::variant::files;

use crate::{pages, readme};

#[test]
fn every_link_leads_to_a_file() {
    let mut links = 0;
    for page in pages() {
        let path = repository::root().join(&page);
        let text = fs::read_to_string(&path).expect("a page is text");
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            links += 1;
            let there = path.with_file_name(target).exists();
            assert!(there, "{}: {target} does not exist", page.display());
        }
    }
    assert!(links > 20, "only {links} links were found");
}

#[test]
fn every_test_that_a_guarantee_names_exists() {
    let tests = sources(&["tests/tests", "generator/tests", "updater/tests"]);
    let yours = sources(&[
        "template/src",
        "template/tests",
        "template/mainstay/src",
        "template/monitor/src",
        "template/monitor/tests",
    ]);
    let readme = readme();
    let guarantees = readme.split("## What it guarantees").nth(1);
    let table = guarantees.and_then(|rest| rest.split("\n## ").next());
    let table = table.expect("there are guarantees");
    let page = fs::read_to_string(repository::root().join("docs/guarantees.md")).expect("a page");
    let mut named = 0;
    let rows = table.lines().chain(page.lines());
    for row in rows.filter(|line| line.starts_with("| ") && line.contains('_')) {
        let cell = row.rsplit('|').nth(1).expect("a row has cells");
        for part in cell.split(';') {
            let (place, whose) = match part.trim().strip_prefix("*yours") {
                Some(_) => (&yours, "template/"),
                None => (&tests, "tests/tests/, generator/tests/ or updater/tests/"),
            };
            for name in part.split('`').skip(1).step_by(2) {
                named += 1;
                let is_there = place.contains(&format!("fn {name}("));
                assert!(is_there, "{name} is not a test in {whose}");
            }
        }
    }
    assert!(named >= 80, "only {named} tests were found");
}

#[test]
fn every_direct_dependency_has_its_line() {
    let page = fs::read_to_string(repository::root().join("docs/dependencies.md")).expect("a page");
    for manifest in [
        "template/Cargo.toml",
        "template/mainstay/Cargo.toml",
        "template/monitor/Cargo.toml",
        "generator/Cargo.toml",
        "tests/Cargo.toml",
        "updater/Cargo.toml",
    ] {
        let text = fs::read_to_string(repository::root().join(manifest)).expect("a manifest");
        let manifest: toml::Table = text.parse().expect("a manifest is TOML");
        for section in ["dependencies", "dev-dependencies"] {
            let table = manifest.get(section).and_then(toml::Value::as_table);
            for name in table.into_iter().flat_map(toml::Table::keys) {
                let has_line = page.contains(&format!("`{name}`"));
                assert!(has_line, "{name} has no line in docs/dependencies.md");
            }
        }
    }
}

#[test]
fn every_decision_is_in_the_list() {
    let decisions = repository::root().join("docs/decisions");
    let list = fs::read_to_string(decisions.join("README.md")).expect("there is a list");
    for file in files(&decisions) {
        let name = file.display().to_string();
        let is_listed = name == "README.md" || list.contains(&name);
        assert!(is_listed, "{name} is not in the list");
    }
}

/// The code below these directories.
fn sources(directories: &[&str]) -> String {
    let roots = directories.iter().map(|it| repository::root().join(it));
    let paths = roots.flat_map(|root| files(&root).into_iter().map(move |file| root.join(file)));
    let code = paths.filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    code.map(|path| fs::read_to_string(path).expect("a source is text"))
        .collect()
}
