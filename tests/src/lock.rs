//! The lock file of generated services, `template/Cargo.lock.liquid`.
//!
//! In place, both databases are in `template/Cargo.lock`. A generated service has one, and builds
//! with `--locked` only if its lock has no package too many. So cargo is asked for the lock of each
//! variant, and the four are folded into one file, with tags where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::repository;
use crate::variant::{Variant, cargo, copy, files};

/// Where the folded lock is.
pub fn path() -> PathBuf {
    repository::template().join("Cargo.lock.liquid")
}

/// Writes the folded lock, and the names in it that no project can have.
pub fn write() -> Result<()> {
    let in_place = fs::read_to_string(repository::template().join("Cargo.lock"))?;
    // Generation prefers the folded lock: an old one must not have a say.
    if path().exists() {
        fs::remove_file(path())?;
    }
    fs::write(path(), folded(&in_place)?)?;
    let taken = repository::template().join("hooks/taken.rhai");
    fs::write(
        &taken,
        with_dependencies(&fs::read_to_string(&taken)?, &in_place)?,
    )?;
    Ok(())
}

/// The locks of all variants, folded into one.
pub fn folded(in_place: &str) -> Result<String> {
    let scratch = tempfile::tempdir()?;
    let mut locks = BTreeMap::new();
    for variant in Variant::all() {
        let project = variant.generate();
        let directory = scratch.path().join(project.name());
        copy(project.dir(), files(project.dir()), &directory)?;
        // What is here is enough for cargo to drop what this variant does not need.
        fs::write(directory.join("Cargo.lock"), in_place)?;
        cargo(
            &directory,
            project.name(),
            &["metadata", "--format-version", "1"],
        );
        let lock = fs::read_to_string(directory.join("Cargo.lock"))?;
        let own = format!("name = \"{}\"", project.name());
        locks.insert(
            project.name().to_owned(),
            lock.replace(&own, "name = \"beacon\""),
        );
    }
    Ok(fold(in_place, &locks))
}

type Variants = BTreeSet<String>;

/// A package as the variants have it.
#[derive(Default)]
struct Package {
    head: Vec<String>,
    of: Variants,
    dependencies: BTreeMap<String, Variants>,
}

fn fold(in_place: &str, locks: &BTreeMap<String, String>) -> String {
    let all: Variants = locks.keys().cloned().collect();
    // By name and version, which is cargo's order.
    let mut packages: BTreeMap<Vec<String>, Package> = BTreeMap::new();
    for (variant, lock) in locks {
        for block in lock
            .split("\n\n")
            .filter(|block| block.starts_with("[[package]]"))
        {
            let (head, dependencies) = block
                .split_once("\ndependencies = [\n")
                .unwrap_or((block, ""));
            let head: Vec<_> = head.lines().map(str::to_owned).collect();
            let package = packages.entry(head.clone()).or_default();
            package.head = head;
            package.of.insert(variant.clone());
            for line in dependencies.lines().take_while(|line| *line != "]") {
                package
                    .dependencies
                    .entry(line.to_owned())
                    .or_default()
                    .insert(variant.clone());
            }
        }
    }
    let preamble = in_place.split("\n\n").next().unwrap_or_default();
    let mut text = preamble.to_owned();
    for package in packages.values() {
        text += &when(&package.of, &all, &format!("\n\n{}", package.text()));
    }
    text.replace("\"beacon\"", "\"{{ project-name }}\"") + "\n"
}

impl Package {
    fn text(&self) -> String {
        let depending: Variants = self.dependencies.values().flatten().cloned().collect();
        let list: String = self
            .dependencies
            .iter()
            .map(|(line, of)| when(of, &depending, &format!("\n{line}")))
            .collect();
        let list = match list.as_str() {
            "" => list,
            _ => when(
                &depending,
                &self.of,
                &format!("\ndependencies = [{list}\n]"),
            ),
        };
        self.head.join("\n") + list.as_str()
    }
}

/// The text, for these variants among those that get this far.
fn when(of: &Variants, among: &Variants, text: &str) -> String {
    if of == among {
        return text.to_owned();
    }
    let of_database = |database: &str| -> Variants {
        among
            .iter()
            .filter(|name| name.contains(database))
            .cloned()
            .collect()
    };
    let condition = if *of == of_database("sqlite") {
        "database == \"sqlite\"".to_owned()
    } else if *of == of_database("postgres") {
        "database == \"postgres\"".to_owned()
    } else {
        let one = |name: &String| format!("variant == \"{}\"", name.trim_start_matches("svc-"));
        of.iter().map(one).collect::<Vec<_>>().join(" or ")
    };
    format!("{{% if {condition} %}}{text}{{% endif %}}")
}

/// The hook's list of names, with every package of the lock in it.
fn with_dependencies(hook: &str, lock: &str) -> Result<String> {
    let names: BTreeSet<_> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|name| *name != "beacon")
        .map(|name| format!("\"{}\",", name.to_lowercase().replace('-', "_")))
        .collect();
    let mut lines = vec![String::new()];
    for name in names {
        let line = lines.last_mut().expect("there is always a last line");
        if line.len() + name.len() > 96 {
            lines.push(format!("    {name}"));
        } else {
            *line += if line.is_empty() { "    " } else { " " };
            *line += &name;
        }
    }
    let start = "export const DEPENDENCIES = [\n";
    let (before, _) = hook
        .split_once(start)
        .context("hooks/taken.rhai has no list DEPENDENCIES")?;
    Ok(format!("{before}{start}{}\n];\n", lines.join("\n")))
}
