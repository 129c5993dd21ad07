//! Settings: typed and strict, each with its source.
//!
//! The layers, lowest to highest: files of defaults, which are compiled in and have every key; each `--config FILE`;
//! `APP__SECTION__KEY` and `APP__SECTION__KEY_FILE` in the environment; `--set key=value`.
//!
//! - All problems are reported at once, each with its key, its value, what set it, and what is allowed.
//! - No value is coerced: text is not a number, `1.5` is not `2`, `no` is not `false`.
//! - A secret is never printed: not in an error, not by `config print`, not by `Debug`.
//!
//! A section is a struct with `#[derive(Deserialize, Validate)]` beside the code that it configures:
//!
//! ```ignore
//! #[derive(Deserialize, Validate)]
//! struct Hello {
//!     #[serde(deserialize_with = "whole_number::<1, 10, _, _>")]
//!     most: u32,
//!     #[garde(custom(at_least("1h")))]
//!     forget_after: Duration,
//! }
//! ```
//!
//! Each has a default with a comment in the service's `config/default.toml`: `testing::check_settings` compares them.
//! A field has the name of its key, and a struct that of its section; a struct in a field of another name has further
//! keys of the section around it. A field renamed to a name with a dot is a key of another section. `[section]` in a name
//! stands for the section. An `Option` is `None` if the value is `""`.

mod deserializer;
mod sources;
mod table;
mod value;

use garde::{Report, Validate};
use serde::de::DeserializeOwned;

use deserializer::Node;
pub(crate) use sources::Sources;
use table::{DEFAULT, Setting, variable};
pub(crate) use table::{Entry, Table, changed, print};
pub use value::{
    ByteSize, Quantity, REDACTED, Secret, at_least, from_secret_text, from_text, redact_as, rule,
    whole_number, within,
};

/// A struct of settings: any type with `#[derive(Deserialize, Validate)]`.
pub trait Section: DeserializeOwned + Validate<Context = ()> {}

impl<S: DeserializeOwned + Validate<Context = ()>> Section for S {}

#[derive(Debug)]
pub(crate) struct Loaded<S> {
    pub(crate) settings: S,
    pub(crate) entries: Vec<Entry>,
}

/// Returns the settings, or the report of all problems. Panics if a key that `S` reads has no valid default.
pub(crate) fn load<S: Section>(mut table: Table, sources: &Sources) -> Result<Loaded<S>, String> {
    sources.apply(&mut table);
    // serde stops at the first error: without the refused value, it finds the next one.
    let settings = loop {
        match S::deserialize(Node::root(&table)) {
            Ok(settings) => break settings,
            Err(error) => table.reset_refused(error.message()),
        }
    };
    table.add_broken_rules(&settings);
    let entries: Vec<_> = table.settings.iter().filter_map(Setting::entry).collect();
    let is_visible = |entry: &&Entry| entry.is_redacted && entry.source == "--set";
    for Entry { key, source, .. } in entries.iter().filter(is_visible) {
        let words = format!(
            "is a secret, and `--set` shows it in the list of processes; set {}_FILE instead",
            variable(key)
        );
        table.add_problem_of(key, source, words);
    }
    let title = match table.problems.len() {
        0 => return Ok(Loaded { settings, entries }),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let problems = table.problems.concat();
    Err(format!("{title} with the settings\n{problems}"))
}

impl Table {
    /// Reports the value that serde refused with this error, and puts the default in its place.
    fn reset_refused(&mut self, error: &str) {
        let key = self.refused.take().unwrap_or_default();
        let entry = self.get(&key).and_then(Setting::entry);
        let (Some(entry), Some(setting)) = (entry, self.get_mut(&key)) else {
            panic!("cannot deserialize the section `{key}`: {error}");
        };
        assert!(
            entry.source != DEFAULT,
            "the default of the setting `{key}` is not valid: {error}"
        );
        setting.set(setting.default.clone(), DEFAULT);
        let words = expected(error);
        // Not printed: the URL may have credentials that belong to another setting, and a list may have secrets.
        let is_url = entry.value.contains("://") && entry.value.contains(['@', '?']);
        if entry.is_redacted || is_url || words == "expected a list" {
            self.add_problem_of(&key, &entry.source, words);
        } else {
            self.add_problem(entry, words);
        }
    }

    fn add_broken_rules<S: Section>(&mut self, settings: &S) {
        let report = settings.validate().err().map(Report::into_inner);
        for (path, error) in report.iter().flatten() {
            let path = path.to_string();
            let fields = path.split(['.', '[']).filter(|step| !step.ends_with(']'));
            let place = fields.fold(String::new(), |parent, field| self.resolve(&parent, field));
            // `rule` writes the keys and the words as `key key…\nwords`.
            let (names, words) = error
                .message()
                .split_once('\n')
                .unwrap_or(("", error.message()));
            let names = names.split_whitespace();
            let mut keys: Vec<_> = names.map(|name| self.resolve(&place, name)).collect();
            if keys.is_empty() {
                keys.push(place);
            }
            for key in &mut keys {
                let entry = self.get(key).and_then(Setting::entry);
                *key = entry.map_or_else(|| key.clone(), |entry| entry.to_string());
            }
            self.add_problem(keys.join("\n"), words);
        }
    }
}

/// Turns an error of serde into "expected …", without the rejected value.
fn expected(error: &str) -> String {
    let words = error.rsplit_once("expected ").map(|(_, words)| words);
    let words = match words.unwrap_or(error) {
        "a boolean" => "`true` or `false`",
        "a string" => "text",
        "a sequence" => "a list",
        "f32" | "f64" => "a number",
        "socket address" | "invalid socket address syntax" => {
            "an address and a port, such as `127.0.0.1:8080` or `[::]:8080`"
        }
        bits @ ("u8" | "u16" | "u32" | "u64" | "usize") => {
            return format!("expected a whole number that fits `{bits}`");
        }
        other if other == error => return error.to_owned(),
        other => other,
    };
    format!("expected {words}")
}

#[cfg(test)]
mod tests;
