//! Settings: typed, strict, and each of them knows where it came from.
//!
//! Lowest to highest: the [`Reference`], which is compiled in and has every key there is;
//! each file given; `APP__SECTION__KEY` and `APP__SECTION__KEY_FILE` in the environment;
//! `--set key=value`.
//!
//! What this module promises:
//! - A service never starts on settings that are partly wrong. Every problem (an unknown key, a
//!   wrong type, values that cannot go together) is found in one go, and each is reported with its
//!   key, its value, the file and line or the variable that set it, and what is allowed.
//! - Nothing is coerced: text is not a number, `1.5` is not `2`, `no` is not `0`.
//! - A secret is never shown: not in an error, not by `config print`, not by `Debug`.
//!
//! To add a setting: a field in a section's struct, a line in its [`Section::read`], and a
//! commented default in the service's `config/default.toml`. A test notices when one of them is missing.

mod reader;
mod reference;
mod report;
mod show;
mod sources;
mod value;

use std::collections::HashMap;

pub use reader::{Check, Reader, Section};
pub use reference::Reference;
pub use report::Problems;
pub use show::{environment_file, print};
pub use sources::Sources;
pub use value::{ByteSize, REDACTED, Secret, Setting, one_of};

/// Settings that hold, and for each of them the value in force and its source.
#[derive(Debug)]
pub struct Loaded<S> {
    pub settings: S,
    pub entries: Vec<Entry>,
}

/// One setting as a person may see it: secrets are redacted already.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Entry {
    /// `section.key`
    pub key: String,
    /// The value in force, as TOML.
    pub value: String,
    /// What set it: `default`, a file and line, a variable, or `--set`.
    pub source: String,
    #[serde(skip)]
    secret: bool,
    /// Tells values apart that may not be seen, and tells nobody else anything: it is another one in
    /// each process.
    #[serde(skip)]
    mark: u64,
}

/// The settings that are not the same any more, by their keys.
#[must_use]
pub fn changed<'a>(before: &[Entry], now: &'a [Entry]) -> Vec<&'a str> {
    let marks: HashMap<_, _> = before
        .iter()
        .map(|entry| (&entry.key, entry.mark))
        .collect();
    let differs = |entry: &&Entry| marks.get(&entry.key) != Some(&entry.mark);
    let changed = now.iter().filter(differs);
    changed.map(|entry| entry.key.as_str()).collect()
}

/// Reads every layer, merges them, and turns the result into `S`, or into the list of all that is
/// wrong with it.
///
/// # Errors
///
/// All problems at once; see [`Problems`].
///
/// # Panics
///
/// When `reference` lacks a key that `S` reads: a mistake in the program, which its tests find.
pub fn load<S: Section>(reference: &Reference, sources: &Sources) -> Result<Loaded<S>, Problems> {
    let mut problems = Problems::default();
    let values = sources.merge(reference, &mut problems);
    reader::read(reference, values, problems)
}

#[cfg(test)]
mod tests;
