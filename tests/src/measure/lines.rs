//! The length of each part of the machinery. docs/own-code.md justifies each as our own code.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use crate::repository;
use crate::variant::files;

/// A row for each part, the longest first.
pub(super) fn section() -> Result<String> {
    let parts = parts()?;
    let mut rows: Vec<_> = parts.iter().collect();
    rows.sort_by_key(|(part, lines)| (std::cmp::Reverse(**lines), *part));
    let mut table = "| part | lines |\n|---|---|\n".to_owned();
    for (part, lines) in rows {
        writeln!(table, "| `{part}` | {lines} |")?;
    }
    let all: usize = parts.values().sum();
    writeln!(table, "| all | {all} |")?;
    Ok(table)
}

/// The lines of each part: a file or a directory of `template/mainstay/src`.
fn parts() -> Result<BTreeMap<String, usize>> {
    let source = repository::template().join("mainstay/src");
    let mut parts = BTreeMap::new();
    for file in files(&source) {
        let is_test = |part| part == "tests" || part == "tests.rs";
        if file.iter().any(is_test) {
            continue;
        }
        let first = file.iter().next().context("a file has a name")?;
        let part = first.to_string_lossy();
        let text = fs::read_to_string(source.join(&file))?;
        let part = part.strip_suffix(".rs").unwrap_or(&part).to_owned();
        *parts.entry(part).or_default() += lines(&text);
    }
    Ok(parts)
}

/// Lines of code and comments, without blank lines and without modules of tests.
fn lines(text: &str) -> usize {
    let mut lines = text.lines().peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        let opens = |next: &&str| next.starts_with("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(opens) {
            // rustfmt puts the module's closing brace at the start of a line.
            lines.by_ref().find(|line| *line == "}");
        } else if !line.trim().is_empty() {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The minimum length of a part that docs/own-code.md must justify.
    const WORTH_A_ROW: usize = 150;

    #[test]
    fn tests_and_blank_lines_do_not_count() {
        let text = "//! A.\n\nfn a() {\n}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n\n#[cfg(test)]\nfn c() {}\n";
        assert_eq!(lines(text), 5);
    }

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
        for (part, lines) in parts().unwrap() {
            let row = documented.remove(&part);
            let is_right = row.map_or(lines < WORTH_A_ROW, |row| {
                row.abs_diff(lines) <= 20 + lines / 10
            });
            assert!(is_right, "`{part}` has {lines} lines, the page has {row:?}");
        }
        assert!(documented.is_empty(), "{documented:?} are gone");
    }
}
