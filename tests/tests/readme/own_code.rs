//! docs/own-code.md has the parts of the machinery, with their lengths. Together, they keep to a budget.

use std::collections::BTreeMap;
use std::fs;

use harness::repository;
use harness::variant::files;

/// The minimum length of a part that the page must justify.
const WORTH_A_ROW: usize = 150;

/// The maximum number of lines of all parts. To go beyond it, cut something, or decide for a larger budget.
const BUDGET: usize = 11_000;

#[test]
fn documented_parts_are_those_of_the_source() {
    let page = fs::read_to_string(repository::root().join("docs/own-code.md")).unwrap();
    let mut documented = BTreeMap::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let mut cells = row.split('|').map(str::trim);
        let part = cells.next().unwrap().trim_end_matches('`').to_owned();
        let lines: usize = cells.next().unwrap().replace(' ', "").parse().unwrap();
        documented.insert(part, lines);
    }
    let parts = parts();
    let all: usize = parts.values().sum();
    println!("{parts:#?}\ntogether {all} lines");
    assert!(all <= BUDGET, "the machinery has {all} lines");
    for (part, lines) in parts {
        let row = documented.remove(&part);
        let is_right = row.map_or(lines < WORTH_A_ROW, |row| {
            row.abs_diff(lines) <= 20 + lines / 10
        });
        assert!(is_right, "`{part}` has {lines} lines, the page has {row:?}");
    }
    assert!(documented.is_empty(), "{documented:?} are gone");
}

/// The lines of code and comments of each part: a file or a directory of `template/mainstay/src`.
fn parts() -> BTreeMap<String, usize> {
    let source = repository::template().join("mainstay/src");
    let is_code =
        |file: &std::path::PathBuf| !file.iter().any(|it| it == "tests" || it == "tests.rs");
    let mut parts = BTreeMap::new();
    for file in files(&source).into_iter().filter(is_code) {
        let part = file.iter().next().unwrap().to_str().unwrap();
        let part = part.strip_suffix(".rs").unwrap_or(part).to_owned();
        let text = fs::read_to_string(source.join(&file)).unwrap();
        // A module of tests is the end of its file.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        *parts.entry(part).or_default() +=
            code.lines().filter(|line| !line.trim().is_empty()).count();
    }
    parts
}
