//! The files of `template/` that are derived from the rest of it: `cargo run -- lock`.
//!
//! - `template/Cargo.lock.liquid`, the lock file of generated services. In place,
//!   `template/Cargo.lock` has the packages of both examples. A generated service has one example,
//!   and builds with `--locked` only if its lock has no superfluous package. The database makes no
//!   difference: a workspace locks the dependencies of all features of its members.
//! - `template/hooks/taken.rhai`, the names that a project cannot have.
//! - `template/hooks/mainstay.rhai`, the checksum of the machinery.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::generate::machinery_checksum;
use crate::repository;
use crate::variant::Variant;

/// The packages that take the project's name during generation.
pub const IN_PLACE: [&str; 2] = ["beacon", "monitor"];

/// The path of the lock file of generated services.
pub fn path() -> PathBuf {
    repository::template().join("Cargo.lock.liquid")
}

/// Writes all three files.
pub fn write() -> Result<()> {
    let template = repository::template();
    let in_place = fs::read_to_string(template.join("Cargo.lock"))?;
    fs::write(path(), folded(&in_place)?)?;
    let taken = template.join("hooks/taken.rhai");
    let names = with_dependencies(&fs::read_to_string(&taken)?, &in_place)?;
    fs::write(&taken, names)?;
    fs::write(template.join("hooks/mainstay.rhai"), machinery_hook()?)?;
    Ok(())
}

/// The hook with the machinery's checksum, for `cargo generate`, which cannot compute one.
pub fn machinery_hook() -> Result<String> {
    let sum = machinery_checksum(repository::root())?;
    Ok(format!(
        "// The checksum of mainstay/, written by `cargo run -- lock`.\n\nexport const CHECKSUM = \"{sum}\";\n"
    ))
}

/// The locks of both examples, merged into one template.
pub fn folded(in_place: &str) -> Result<String> {
    let [hello, monitor] = [locked("hello", in_place)?, locked("monitor", in_place)?];
    let mut blocks = in_place.trim_end().split("\n\n");
    let preamble = blocks.next().unwrap_or_default();
    let mut text = preamble.to_owned();
    // In cargo's order. The project comes last, since its position depends on its name.
    for head in blocks.map(head).chain([OWN.to_owned()]) {
        text += &match (hello.get(&head), monitor.get(&head)) {
            (Some(one), Some(other)) if one == other => one.clone(),
            (one, other) => [when("hello", one), when("monitor", other)].concat(),
        };
    }
    Ok(text + "\n")
}

/// Stands for the head of the project's own package.
const OWN: &str = "the project";

/// The name and version of the package in a block of a lock.
fn head(block: &str) -> String {
    block.lines().take(3).collect::<Vec<_>>().join("\n")
}

/// The packages in the lock of an example, by their heads.
fn locked(example: &str, in_place: &str) -> Result<BTreeMap<String, String>> {
    let project = Variant::default().example(example).generate();
    let lock = project.dir().join("Cargo.lock");
    // cargo removes what this example does not need, and keeps all versions.
    fs::write(&lock, in_place)?;
    project.cargo(&["metadata", "--format-version", "1"]);
    let lock = fs::read_to_string(lock)?;
    let name = format!("name = \"{}\"", project.name());
    let blocks = lock.trim_end().split("\n\n").skip(1).map(|block| {
        let is_own = block.lines().nth(1) == Some(&name);
        let head = if is_own { OWN.to_owned() } else { head(block) };
        let block = block.replace(&name, "name = \"{{ project-name }}\"");
        (head, format!("\n\n{block}"))
    });
    Ok(blocks.collect())
}

fn when(example: &str, text: Option<&String>) -> String {
    text.map_or_else(String::new, |text| {
        format!("{{% if example == \"{example}\" %}}{text}{{% endif %}}")
    })
}

/// The hook's list of names, with every package of the lock.
fn with_dependencies(hook: &str, lock: &str) -> Result<String> {
    let names: BTreeSet<_> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|name| !IN_PLACE.contains(name))
        .map(|name| format!("\"{}\",", name.to_lowercase().replace('-', "_")))
        .collect();
    let names: Vec<_> = names.into_iter().collect();
    let lines = names
        .chunks(6)
        .map(|names| format!("    {}\n", names.join(" ")));
    let start = "export const DEPENDENCIES = [\n";
    let (before, _) = hook
        .split_once(start)
        .context("hooks/taken.rhai has no list DEPENDENCIES")?;
    Ok(format!("{before}{start}{}];\n", lines.collect::<String>()))
}
