//! The workspace around a new service: its machinery, if it has one, and its list of members.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use toml_edit::{Array, DocumentMut, Item, Table, Value};

/// A cargo workspace.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that a new package in this directory would belong to.
    pub fn around(package: &Path) -> Result<Option<Self>> {
        for root in package.ancestors().skip(1) {
            let manifest = root.join("Cargo.toml");
            if !manifest.exists() {
                continue;
            }
            let manifest = read(&manifest)?;
            if manifest.contains_key("workspace") {
                let is_member = !is_excluded(&manifest, root, package);
                let root = root.to_owned();
                return Ok(is_member.then_some(Self { root }));
            }
        }
        Ok(None)
    }

    /// The directories of its packages, by name.
    pub fn packages(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut cargo = crate::cargo();
        cargo
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&self.root);
        let output = cargo.output().context("cargo cannot be run")?;
        ensure!(
            output.status.success(),
            "cargo cannot read the workspace {}: {}",
            self.root.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let named = packages.filter_map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let name = package["name"].as_str()?;
            Some((name.to_owned(), manifest.parent()?.to_owned()))
        });
        Ok(named.collect())
    }

    /// Adds new members to the lock file, if there is one. What is not downloaded yet is left to the next build.
    pub fn complete_lock(&self) {
        if self.root.join("Cargo.lock").exists() {
            let mut cargo = crate::cargo();
            cargo.args(["update", "--workspace", "--offline", "--quiet"]);
            _ = cargo.current_dir(&self.root).output();
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Adds a package to the members, unless a pattern of the list covers it.
    pub fn add(&self, directory: &Path) -> Result<()> {
        if self.packages()?.values().any(|member| member == directory) {
            return Ok(());
        }
        let path = self.root.join("Cargo.toml");
        let mut manifest = read(&path)?;
        let member = relative(&self.root, directory);
        add_member(&mut manifest, &member)
            .with_context(|| format!("{}: `workspace.members` is no list", path.display()))?;
        fs::write(&path, manifest.to_string())
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

fn read(manifest: &Path) -> Result<DocumentMut> {
    let text = fs::read_to_string(manifest)
        .with_context(|| format!("{} cannot be read", manifest.display()))?;
    text.parse()
        .with_context(|| format!("{} is not TOML", manifest.display()))
}

fn is_excluded(manifest: &DocumentMut, root: &Path, package: &Path) -> bool {
    let excluded = manifest["workspace"]
        .get("exclude")
        .and_then(Item::as_array);
    let mut excluded = excluded.into_iter().flatten().filter_map(Value::as_str);
    excluded.any(|path| package.starts_with(root.join(path)))
}

fn add_member(manifest: &mut DocumentMut, member: &str) -> Option<()> {
    let workspace = manifest
        .entry("workspace")
        .or_insert(Item::Table(Table::new()));
    let members = workspace
        .as_table_like_mut()?
        .entry("members")
        .or_insert(Item::Value(Value::Array(Array::new())));
    let members = members.as_array_mut()?;
    let mut value = Value::from(member);
    // Formatted like the preceding entry.
    let last = members.iter().last().and_then(|last| last.decor().prefix());
    match last.and_then(|prefix| prefix.as_str()) {
        Some(prefix) if members.len() > 1 || prefix.contains('\n') => {
            value.decor_mut().set_prefix(prefix);
            members.push_formatted(value);
        }
        _ => members.push(value),
    }
    Some(())
}

/// The relative path from one directory to another, as manifests write it.
pub fn relative(from: &Path, to: &Path) -> String {
    let (mut from, mut to) = (from.components().peekable(), to.components().peekable());
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    let up = from.map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to).collect();
    path.to_string_lossy().into_owned()
}

/// The path that `path` names from a directory which does not have to exist.
pub fn joined(directory: &Path, path: &Path) -> PathBuf {
    let mut joined = directory.to_owned();
    for component in path.components() {
        if component == Component::ParentDir {
            joined.pop();
        } else {
            joined.push(component);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_member(manifest: &str) -> String {
        let mut manifest = manifest.parse().unwrap();
        add_member(&mut manifest, "new").unwrap();
        manifest.to_string()
    }

    #[test]
    fn add_member_keeps_the_layout_of_the_list() {
        for (before, after) in [
            (
                "[workspace]\nmembers = [\"a\"] # all\n",
                "[workspace]\nmembers = [\"a\", \"new\"] # all\n",
            ),
            (
                "[workspace]\nmembers = [\n    \"a\",\n    \"b\",\n]\n",
                "[workspace]\nmembers = [\n    \"a\",\n    \"b\",\n    \"new\",\n]\n",
            ),
            (
                "[workspace]\nmembers = []\n",
                "[workspace]\nmembers = [\"new\"]\n",
            ),
            (
                "[workspace]\nresolver = \"3\"\n",
                "[workspace]\nresolver = \"3\"\nmembers = [\"new\"]\n",
            ),
        ] {
            assert_eq!(with_member(before), after);
        }
    }

    #[test]
    fn relative_leads_up_and_down() {
        let path = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
        assert_eq!(path("/w/new", "/w/mainstay"), "../mainstay");
        assert_eq!(path("/w/a/new", "/w/b/mainstay"), "../../b/mainstay");
        assert_eq!(path("/w", "/w/new"), "new");
        let back = joined(Path::new("/w/a/new"), Path::new("../../b/mainstay"));
        assert_eq!(back, Path::new("/w/b/mainstay"));
    }
}
