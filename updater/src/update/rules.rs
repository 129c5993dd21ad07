//! What a merge by lines gets wrong: the files that need rules of their own.
//!
//! Before the merge, the two renderings of the template are adapted to the project; afterwards, some
//! conflicts have one right answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use toml_edit::{DocumentMut, Item, Table, value};

use super::lock;
use super::project::{Conflict, Merged, Project};
use super::record::{self, Record};
use crate::checksum;
use crate::files::{copy, files};

/// The file that a test generates. On a conflict, the project's version stays; `UPDATE=1 cargo test` writes it again.
const GENERATED: &str = "openapi.json";

const MACHINERY: &str = "mainstay";

/// What the owner must know, or do.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Decisions of the update.
    pub(crate) kept: Vec<String>,
    /// Steps that are left to the owner.
    pub(crate) open: Vec<String>,
}

/// Adapts two renderings of the template to the project.
pub(crate) fn adapt(
    project: &Project,
    record: &Record,
    old: &Path,
    new: &Path,
    notes: &mut Notes,
) -> Result<()> {
    let mut renderings = Renderings {
        project,
        committed: project.committed_files()?,
        old,
        new,
        notes,
    };
    renderings.record()?;
    renderings.machinery(record)?;
    renderings.migrations()?;
    renderings.deleted_directories()?;
    renderings.published()?;
    renderings.cargo_lock()?;
    renderings.line_ends()
}

struct Renderings<'a> {
    project: &'a Project,
    /// The committed files of the project.
    committed: BTreeSet<PathBuf>,
    old: &'a Path,
    new: &'a Path,
    notes: &'a mut Notes,
}

impl Renderings<'_> {
    /// The record gets the new values. Comments of the owner stay.
    fn record(&self) -> Result<()> {
        let Some(ours) = self.project.committed(record::FILE) else {
            return Ok(());
        };
        let [old, new] = [self.old, self.new].map(|root| root.join(record::FILE));
        let mut merged: DocumentMut = String::from_utf8_lossy(&ours).parse()?;
        let values: DocumentMut = fs::read_to_string(&new)?.parse()?;
        for (section, values) in values.iter() {
            for (key, value) in values.as_table().into_iter().flat_map(Table::iter) {
                merged[section][key] = value.clone();
            }
        }
        fs::write(old, ours)?;
        Ok(fs::write(new, merged.to_string())?)
    }

    /// The lock is merged by packages: the merge by lines then takes the result.
    fn cargo_lock(&self) -> Result<()> {
        let [old, new] = [self.old, self.new].map(|root| root.join("Cargo.lock"));
        let ours = self.project.committed("Cargo.lock");
        if let (Some(ours), Ok(after)) = (ours, fs::read_to_string(&new)) {
            let text = String::from_utf8_lossy(&ours).replace("\r\n", "\n");
            let before = fs::read_to_string(&old).unwrap_or_default();
            fs::write(new, lock::merged(&before, &text, &after))?;
            fs::write(old, ours)?;
        }
        Ok(())
    }

    /// A machinery that its owner has not edited is replaced as a whole.
    fn machinery(&mut self, record: &Record) -> Result<()> {
        let [old, new] = [self.old, self.new].map(|root| root.join(MACHINERY));
        let ours = self.project.directory.join(MACHINERY);
        if let Some(shared) = record.answers.mainstay.as_deref()
            && shared != MACHINERY
        {
            let note = format!("the machinery is {shared}: update its project first");
            self.notes.kept.push(note);
        }
        if !ours.is_dir() || !new.is_dir() {
            return Ok(());
        }
        let is_untouched = match &record.checksum {
            Some(recorded) => checksum::of(&ours)? == *recorded,
            None => files(&ours) == files(&old) && checksum::of(&ours)? == checksum::of(&old)?,
        };
        if is_untouched {
            _ = fs::remove_dir_all(&old);
            copy(&ours, files(&ours), &old)?;
        } else {
            let note = "mainstay/ was edited in this project: it is merged, not replaced";
            self.notes.kept.push(note.to_owned());
        }
        Ok(())
    }

    /// A migration that exists is never changed, and a new one must come after the project's newest.
    fn migrations(&mut self) -> Result<()> {
        let newest = |files: &BTreeSet<PathBuf>, directory: &Path| {
            let files = files.iter().filter(|file| file.starts_with(directory));
            files.filter_map(|file| number(file)).max()
        };
        let all = Path::new("migrations");
        let [before, after] = [self.old, self.new].map(files);
        let last = newest(&after, all).max(newest(&self.committed, all));
        let mut next = last.unwrap_or(0) + 1;
        for file in before.union(&after).filter(|file| file.starts_with(all)) {
            let [old, new] = [self.old, self.new].map(|root| root.join(file));
            let directory = file.parent().unwrap_or(all);
            let name = file.display();
            if old.exists() {
                let what = if new.exists() { "changed" } else { "removed" };
                // After a change of the database, there is no such directory.
                let is_used = self.new.join(directory).exists();
                if is_used && fs::read(&old).ok() != fs::read(&new).ok() {
                    let note =
                        format!("{name} is not {what}: it may already have run on a database");
                    self.notes.kept.push(note);
                    fs::copy(old, new)?;
                }
            // There are no others after a change of the database: then nothing is compared.
            } else if let (Some(own), Some(newest)) =
                (number(file), newest(&self.committed, directory))
                && own <= newest
            {
                self.notes.open.push(format!(
                    "{name} is not added: the project already has the migration {newest}, and migrations run in order. \
                     Add it as {next:04}_…sql; its text follows"
                ));
                next += 1;
                self.notes.open.push(fs::read_to_string(&new)?);
                fs::remove_file(new)?;
            }
        }
        Ok(())
    }

    /// A directory that the owner has deleted gets no new files.
    fn deleted_directories(&mut self) -> Result<()> {
        let (old, new) = (self.old, self.new);
        let before = files(old);
        let is_deleted = |directory: &Path| {
            let is_below = |file: &PathBuf| file.starts_with(directory);
            before.iter().any(is_below) && !self.committed.iter().any(is_below)
        };
        let mut deleted = BTreeSet::new();
        for file in files(new).difference(&before) {
            let parents = file.ancestors().skip(1).filter(|it| it.parent().is_some());
            if let Some(directory) = parents.filter(|it| is_deleted(it)).last() {
                deleted.insert(directory.to_owned());
                fs::remove_file(new.join(file))?;
            }
        }
        let names = deleted.iter().map(|it| it.display());
        let notes = names.map(|name| format!("{name}/ stays deleted"));
        self.notes.kept.extend(notes);
        Ok(())
    }

    /// A project that takes the machinery from a registry gets its new version.
    fn published(&self) -> Result<()> {
        let manifest = self.project.committed("Cargo.toml").unwrap_or_default();
        let Ok(manifest) = String::from_utf8(manifest)?.parse::<DocumentMut>() else {
            return Ok(());
        };
        let Some(version) = version(&self.new.join(MACHINERY)) else {
            return Ok(());
        };
        for table in ["dependencies", "dev-dependencies"] {
            let dependency = manifest.get(table).and_then(|it| it.get(MACHINERY));
            // Neither a path nor a git repository has a version here.
            let is_published = |it: &&Item| {
                it.get("path").is_none() && (it.is_str() || it.get("version").is_some())
            };
            let Some(ours) = dependency.filter(is_published) else {
                continue;
            };
            let mut newer = ours.clone();
            match newer.get_mut("version") {
                Some(inner) => *inner = value(&version),
                None => newer = value(&version),
            }
            // Both renderings get the owner's line, so that only the version differs.
            for (root, line) in [(self.old, ours), (self.new, &newer)] {
                let path = root.join("Cargo.toml");
                let mut rendered: DocumentMut = fs::read_to_string(&path)?.parse()?;
                if let Some(place) = rendered.get_mut(table).and_then(|it| it.get_mut(MACHINERY)) {
                    *place = line.clone();
                }
                fs::write(path, rendered.to_string())?;
            }
        }
        Ok(())
    }

    /// A file that the project has with CRLF is compared and merged with CRLF.
    fn line_ends(&self) -> Result<()> {
        let (old, new) = (self.old, self.new);
        // Files of one project have the same line ends, as a rule: one look at the manifest is enough.
        let sample = self.project.committed("Cargo.toml").unwrap_or_default();
        if !is_crlf(&sample) {
            return Ok(());
        }
        let both: BTreeSet<PathBuf> = files(old).union(&files(new)).cloned().collect();
        for file in both {
            let ours = self.project.committed(&file.to_string_lossy());
            // A new file gets the line ends of the others.
            if !ours.is_none_or(|ours| is_crlf(&ours)) {
                continue;
            }
            for root in [old, new] {
                let path = root.join(&file);
                if let Ok(text) = fs::read_to_string(&path) {
                    fs::write(path, text.replace("\r\n", "\n").replace('\n', "\r\n"))?;
                }
            }
        }
        Ok(())
    }
}

/// The number at the beginning of a migration's name.
fn number(file: &Path) -> Option<u64> {
    let name = file.file_name()?.to_str()?;
    name.split('_').next()?.parse().ok()
}

/// The version of the machinery in a rendering.
fn version(machinery: &Path) -> Option<String> {
    let manifest = fs::read_to_string(machinery.join("Cargo.toml")).ok()?;
    let manifest: DocumentMut = manifest.parse().ok()?;
    let version = manifest.get("package")?.get("version")?;
    Item::as_str(version).map(str::to_owned)
}

fn is_crlf(content: &[u8]) -> bool {
    content.windows(2).any(|pair| pair == b"\r\n")
}

/// Resolves the conflicts that have one right answer.
pub(crate) fn resolve(project: &Project, merged: Merged, notes: &mut Notes) -> Result<Merged> {
    let mut changes = Vec::new();
    let mut conflicts = Vec::new();
    for conflict in merged.conflicts {
        let path = project.within(&conflict.path).to_owned();
        let ours = conflict.versions.iter().find(|(_, _, stage)| *stage == 2);
        if !conflict.has(2) && conflict.has(1) {
            notes.kept.push(format!("{path} stays deleted"));
            changes.push((conflict.path, None));
        } else if let (Some((mode, object, _)), true) = (ours, path == GENERATED) {
            changes.push((conflict.path.clone(), Some((mode.clone(), object.clone()))));
        } else {
            conflicts.push(conflict);
        }
    }
    let tree = if changes.is_empty() {
        merged.tree
    } else {
        project.tree_changed(&merged.tree, &changes)?
    };
    Ok(Merged { tree, conflicts })
}

/// One line of advice for a conflict.
pub(crate) fn advice(path: &str, conflict: &Conflict) -> &'static str {
    match (conflict.has(1), conflict.has(2), conflict.has(3)) {
        (true, true, false) => {
            "the template removed it, and you changed it: keep it (git add), or remove it (git rm)"
        }
        (false, true, true) => "both have a new file of this name: keep one, or merge them",
        _ if path.starts_with("mainstay/") => {
            "you edited the machinery here: take the new text, unless you still need your change"
        }
        _ if path.ends_with("Cargo.toml") => "keep your dependencies, and take the newer versions",
        _ => "you and the template changed the same lines: combine both changes",
    }
}

/// Whether a changed file means that the generated file is to be written again.
pub(crate) fn needs_regeneration(changes: &[(char, String)]) -> bool {
    let is_source = |path: &str| path.starts_with("src/") || path.starts_with("mainstay/src/");
    changes
        .iter()
        .any(|(_, path)| is_source(path) || path == GENERATED)
}
