//! Settings: typed and strict, each with its source.
//!
//! The layers, lowest to highest: the reference, which is compiled in and has every key with its default;
//! each `--config FILE`; `APP__SECTION__KEY` and `APP__SECTION__KEY_FILE` in the environment;
//! `--set key=value`.
//!
//! - A service does not start on settings that are partly wrong. All problems (unknown keys, wrong types,
//!   values that contradict each other) are reported at once, each with its key, its value, the file and
//!   line or the variable that set it, and what is allowed.
//! - No value is coerced: text is not a number, `1.5` is not `2`, `no` is not `false`.
//! - A secret is never printed: not in an error, not by `config print`, not by `Debug`.
//!
//! A section is a struct with `#[derive(Deserialize, Validate)]` beside the code that it configures:
//!
//! ```ignore
//! #[derive(Deserialize, Validate)]
//! struct Hello {
//!     #[garde(range(min = 1, max = 10))]
//!     most: u32,
//!     #[garde(custom(at_least("1h")))]
//!     forget_after: Duration,
//! }
//! ```
//!
//! To add a setting, add a field, and a default with a comment to the service's `config/default.toml`.
//! `testing::check_settings` fails when one of them is missing. A field has the name of its key, and a struct that of
//! its section; a struct in a field of another name has further keys of the section around it. A field renamed to a name
//! with a dot is a key of another section. An `Option` is `None` if the value is `""`.

mod deserializer;
mod reader;
mod reference;
mod report;
mod show;
mod sources;
mod value;

use std::collections::HashMap;

use garde::Validate;
use serde::de::DeserializeOwned;

pub(crate) use reference::Reference;
pub(crate) use report::Problems;
pub(crate) use show::{environment_file, print};
pub(crate) use sources::Sources;
pub use value::{
    ByteSize, Quantity, REDACTED, Secret, at_least, from_secret_text, from_text, redact_as, rule,
    section_name, within,
};

/// A struct of settings: any type with `#[derive(Deserialize, Validate)]`.
pub trait Section: DeserializeOwned + Validate<Context = ()> {}

impl<S: DeserializeOwned + Validate<Context = ()>> Section for S {}

/// Valid settings, with the value in force and the source of each.
#[derive(Debug)]
pub(crate) struct Loaded<S> {
    pub(crate) settings: S,
    pub(crate) entries: Vec<Entry>,
}

/// One setting in force, redacted.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Entry {
    /// `section.key`
    pub(crate) key: String,
    /// The value in force, as TOML.
    pub(crate) value: String,
    /// What set it: `default`, a file and line, a variable, or `--set`.
    pub(crate) source: String,
    /// A hash of the value with a random seed of this process. It reveals no secret.
    #[serde(skip)]
    fingerprint: u64,
}

/// The keys of the settings whose values differ.
#[must_use]
pub(crate) fn changed<'a>(before: &[Entry], now: &'a [Entry]) -> Vec<&'a str> {
    let fingerprints: HashMap<_, _> = before
        .iter()
        .map(|entry| (&entry.key, entry.fingerprint))
        .collect();
    now.iter()
        .filter(|entry| fingerprints.get(&entry.key) != Some(&entry.fingerprint))
        .map(|entry| entry.key.as_str())
        .collect()
}

/// Reads and merges the layers. Returns the settings, or all problems.
///
/// # Panics
///
/// If `reference` lacks a key that `S` reads: a mistake in the program, which its tests find.
pub(crate) fn load<S: Section>(
    reference: &Reference,
    sources: &Sources,
) -> Result<Loaded<S>, Problems> {
    let mut problems = Problems::default();
    let values = sources.merge(reference, &mut problems);
    reader::read(reference, values, problems)
}

#[cfg(test)]
mod tests;
