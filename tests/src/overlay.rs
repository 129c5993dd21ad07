//! An overlay: an owner's changes to a generated project, kept as a directory of this crate.
//!
//! A TOML file of the overlay is merged into the project's file: tables by key, arrays by
//! appending. A `.diff` is applied to the files that it names. Any other file replaces the
//! project's file. So an overlay holds only the differences, and survives most changes of the
//! template.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use generator::succeed;
use toml::{Table, Value};

use crate::variant::files;

/// Applies an overlay to a project.
pub(crate) fn put(overlay: &Path, project: &Path) -> Result<()> {
    for file in files(overlay) {
        let (from, to) = (overlay.join(&file), project.join(&file));
        let is = |kind: &str| file.extension().is_some_and(|extension| extension == kind);
        if is("diff") {
            apply(&from, project)?;
        } else if is("toml") && to.exists() {
            merge_into(&to, read(&from)?)?;
        } else {
            fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// Applies a diff to a project; fails if its context does not match.
pub(crate) fn apply(diff: &Path, project: &Path) -> Result<()> {
    let project = project.canonicalize()?;
    // The project is not in a repository, even if a parent directory is.
    let ceiling = project.parent().unwrap_or(&project);
    let mut git = Command::new("git");
    git.arg("apply")
        .arg(diff.canonicalize()?)
        .current_dir(&project)
        .env("GIT_CEILING_DIRECTORIES", ceiling);
    succeed(&mut git).map(drop)
}

/// Merges a table into a TOML file.
pub(crate) fn merge_into(file: &Path, more: Table) -> Result<()> {
    let mut merged = read(file)?;
    merge(&mut merged, more);
    Ok(fs::write(file, toml::to_string(&merged)?)?)
}

fn read(file: &Path) -> Result<Table> {
    toml::from_str(&fs::read_to_string(file)?)
        .with_context(|| format!("{} is not TOML", file.display()))
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (Some(Value::Array(into)), Value::Array(from)) => into.extend(from),
            (_, value) => _ = into.insert(key, value),
        }
    }
}
