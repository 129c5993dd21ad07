//! `Cargo.lock`, merged package by package. cargo completes it, and removes what is not needed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use semver::Version;

use crate::{cargo, succeed};

/// The blocks of a lock file, by name and version.
type Packages<'a> = BTreeMap<(&'a str, &'a str), &'a str>;

/// The lock of the new template, with the owner's own packages and newer versions.
pub(crate) fn merged(old: &str, ours: &str, new: &str) -> String {
    let others = new.trim_end().split("\n\n");
    let others = others.filter(|block| !block.starts_with("[[package]]"));
    let [old, ours, new] = [old, ours, new].map(packages);
    let mut kept = new.clone();
    for (id, block) in ours {
        if old.contains_key(&id) || new.contains_key(&id) {
            continue;
        }
        // Two compatible versions of one package exclude each other: the newer one stays.
        let (name, version) = id;
        let is_rival = |(other, of): &&(&str, &str)| *other == name && compatible(of, version);
        match new.keys().find(is_rival) {
            Some((_, of)) if newer(of, version) => continue,
            Some(rival) => _ = kept.remove(rival),
            None => {}
        }
        kept.insert(id, block);
    }
    let blocks: Vec<_> = others.chain(kept.into_values()).collect();
    blocks.join("\n\n") + "\n"
}

fn packages(lock: &str) -> Packages<'_> {
    let blocks = lock
        .split("\n\n")
        .filter(|it| it.starts_with("[[package]]"));
    blocks.map(|block| (key(block), block.trim_end())).collect()
}

/// The name and version of a package.
fn key(block: &str) -> (&str, &str) {
    let field = |name: &str| {
        let mut lines = block.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        value.unwrap_or_default().trim_matches('"')
    };
    (field("name"), field("version"))
}

/// Whether cargo would use one of the two versions for both.
fn compatible(one: &str, other: &str) -> bool {
    let significant = |text: &str| {
        let version = Version::parse(text).ok()?;
        Some(match (version.major, version.minor) {
            (0, 0) => (0, 0, version.patch),
            (0, minor) => (0, minor, 0),
            (major, _) => (major, 0, 0),
        })
    };
    significant(one).is_some() && significant(one) == significant(other)
}

fn newer(one: &str, other: &str) -> bool {
    Version::parse(one).ok() > Version::parse(other).ok()
}

/// Lets cargo complete the lock of a project: without the network, if it can.
pub(crate) fn complete(project: &Path) -> Result<()> {
    let metadata = |options: &[&str]| {
        let mut cargo = cargo();
        cargo
            .args(["metadata", "--format-version", "1"])
            .args(options)
            .current_dir(project)
            .env_remove("CARGO_TARGET_DIR");
        succeed(&mut cargo).map(drop)
    };
    metadata(&["--offline"]).or_else(|_| metadata(&[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(packages: &[(&str, &str)]) -> String {
        let blocks = packages.iter().map(|(name, version)| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"")
        });
        let blocks: Vec<_> = ["version = 4".to_owned()]
            .into_iter()
            .chain(blocks)
            .collect();
        blocks.join("\n\n") + "\n"
    }

    #[test]
    fn lock_has_new_versions_and_the_owners_packages() {
        let old = lock(&[("axum", "0.8.1"), ("gone", "1.0.0"), ("serde", "1.0.1")]);
        let ours = lock(&[
            ("axum", "0.8.1"),
            ("gone", "1.0.0"),
            ("own", "3.0.0"),
            ("serde", "1.0.9"),
        ]);
        let new = lock(&[("axum", "0.8.9"), ("serde", "1.0.5")]);
        let expected = lock(&[("axum", "0.8.9"), ("own", "3.0.0"), ("serde", "1.0.9")]);
        assert_eq!(merged(&old, &ours, &new), expected);
    }

    #[test]
    fn lock_keeps_the_templates_version_if_it_is_newer() {
        let old = lock(&[("serde", "1.0.1")]);
        let ours = lock(&[("rand", "0.9.1"), ("serde", "1.0.3")]);
        let new = lock(&[("rand", "0.8.5"), ("serde", "1.0.5")]);
        let expected = lock(&[("rand", "0.8.5"), ("rand", "0.9.1"), ("serde", "1.0.5")]);
        assert_eq!(merged(&old, &ours, &new), expected);
    }
}
