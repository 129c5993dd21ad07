//! The map of patterns is correct: each line that it links to contains the named item, and each
//! named test exists.
//!
//! A place is written ``[`file.rs:12`](../path/file.rs#L12) `item` ``, and a test
//! ``[file.rs](../path/file.rs) `its_name` ``. When code moves, `UPDATE=1 cargo test --test readme
//! patterns` updates the line numbers, if the item is still in its file.

use std::path::{Path, PathBuf};
use std::{env, fs};

use harness::repository;

const PAGE: &str = "docs/patterns.md";

/// The number of patterns in the catalogue that this project began with.
const PATTERNS: usize = 31;

#[test]
fn patterns_are_where_the_map_says() {
    let file = repository::root().join(PAGE);
    let page = fs::read_to_string(&file).expect("there is a map");
    let (mut wrong, mut updated, mut patterns) = (Vec::new(), page.clone(), 0);
    let mut has_moved = false;
    for row in page.lines().filter_map(Row::read) {
        patterns += 1;
        let is_complete = !row.places.is_empty() && !row.tests.is_empty();
        if !is_complete || row.prevents.len() < 10 {
            wrong.push(format!(
                "{} has no place, test or prevented mistake",
                row.name
            ));
        }
        for place in &row.places {
            match line_of(&source(&place.path), place.item, place.line) {
                Some(line) => {
                    has_moved |= line != place.line;
                    updated = updated.replace(&place.written(place.line), &place.written(line));
                }
                None => wrong.push(format!("{} was not found", place.written(place.line))),
            }
        }
        for (path, test) in &row.tests {
            if !has_test(&source(path), test) {
                wrong.push(format!("{test} is not a test in {}", path.display()));
            }
        }
    }
    assert_eq!(patterns, PATTERNS, "patterns in {PAGE}");
    assert!(wrong.is_empty(), "{PAGE}\n{}", wrong.join("\n"));
    if env::var_os("UPDATE").is_some() {
        fs::write(file, updated).expect("the map can be written");
    } else {
        let update = "UPDATE=1 cargo test --test readme patterns";
        assert!(!has_moved, "lines of {PAGE} have moved: {update}");
    }
}

/// A row of the map.
#[derive(Debug)]
struct Row<'a> {
    name: &'a str,
    places: Vec<Place<'a>>,
    tests: Vec<(PathBuf, &'a str)>,
    prevents: &'a str,
}

/// The place of an item.
#[derive(Debug)]
struct Place<'a> {
    path: PathBuf,
    line: usize,
    item: &'a str,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let cells: Vec<_> = line.strip_prefix("| ")?.split(" | ").collect();
        let [name, _, places, tests, prevents] = cells.as_slice() else {
            panic!("a row has five cells: {line}");
        };
        if *name == "asyncio" {
            return None;
        }
        let place = |(target, items): (&'a str, Vec<&'a str>)| {
            let (path, line) = target.split_once("#L")?;
            let [item] = items.as_slice() else {
                return None;
            };
            let (path, line) = (from_the_root(path), line.parse().ok()?);
            Some(Place { path, line, item })
        };
        let places = links(places).map(|link| {
            let label = link.0;
            place(link).unwrap_or_else(|| panic!("{label} has no line, or not exactly one name"))
        });
        let tests = links(tests).flat_map(|(path, names)| {
            let path = from_the_root(path);
            names.into_iter().map(move |name| (path.clone(), name))
        });
        Some(Self {
            name,
            places: places.collect(),
            tests: tests.collect(),
            prevents: prevents.trim_end_matches(" |"),
        })
    }
}

impl Place<'_> {
    /// The text of the link in the page.
    fn written(&self, line: usize) -> String {
        let path = self.path.display().to_string();
        // A file named `mod.rs` is identified by its directory.
        let is_named = |part: &&str| *part != "mod.rs";
        let mut parts = path.rmatch_indices('/').map(|(at, _)| &path[at + 1..]);
        let name = parts.find(is_named).unwrap_or(&path);
        format!("[`{name}:{line}`](../{path}#L{line}) `{}`", self.item)
    }
}

/// The target of each link in a cell, and the names after it.
fn links(cell: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    cell.split("](").skip(1).map(|rest| {
        let (target, rest) = rest.split_once(')').expect("a link has an end");
        // Up to the next link.
        let names = rest.split(" [").next().unwrap_or_default();
        (target, names.split('`').skip(1).step_by(2).collect())
    })
}

fn from_the_root(path: &str) -> PathBuf {
    path.strip_prefix("../").unwrap_or(path).into()
}

fn source(path: &Path) -> String {
    let text = fs::read_to_string(repository::root().join(path));
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The line that contains this item; of several, the nearest to the old line.
fn line_of(source: &str, item: &str, was: usize) -> Option<usize> {
    let lines = source.lines().enumerate();
    let found = lines.filter(|(_, line)| line.contains(item));
    found
        .map(|(index, _)| index + 1)
        .min_by_key(|line| line.abs_diff(was))
}

/// Whether there is a function with this name that is marked as a test.
fn has_test(source: &str, name: &str) -> bool {
    let start = format!("fn {name}(");
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let is_test = |index: usize| {
        let above = lines[..index].iter().rev();
        let mut marks = above.take_while(|line| line.starts_with(['#', '/']));
        marks.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    };
    let mut named = lines.iter().enumerate();
    named.any(|(index, line)| {
        line.trim_start_matches("async ").starts_with(&start) && is_test(index)
    })
}

#[test]
fn only_marked_functions_are_tests() {
    let source = "fn a() {}\n\n#[tokio::test(start_paused = true)]\nasync fn b() {}\n\nfn c() {}\n";
    let are_tests = ["a", "b", "c"].map(|name| has_test(source, name));
    assert_eq!(are_tests, [false, true, false]);
}
