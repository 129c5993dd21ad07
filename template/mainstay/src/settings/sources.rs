//! The layers above the defaults: files, environment, command line.
//!
//! Each value carries its origin: `prod.toml:12`, the name of the variable, or `--set`. The `config` crate
//! merges the layers. A key that is not in the reference is reported, and not merged.

#![expect(
    clippy::disallowed_methods,
    reason = "settings are read at the start and on SIGHUP, from small files"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use config::{Config, Map, Source, Value, ValueKind};
use toml::de::DeTable;

use super::reference::{Described, Reference, leaves};
use super::report::Problems;

const PREFIX: &str = "APP__";
/// The variable that names the files if there is no `--config`, separated as in `PATH`.
const FILES_VARIABLE: &str = "APP_CONFIG";

/// The sources of the settings. The files have not been read yet.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The files of `--config` or `APP_CONFIG`. A later file overrides an earlier one.
    pub(crate) files: Vec<PathBuf>,
    /// The environment of the process.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Each `key=value` of `--set`. A later one overrides an earlier one.
    pub(crate) set: Vec<String>,
}

impl Sources {
    /// Combines the options of the command line with the environment of this process.
    #[must_use]
    pub(crate) fn of_process(files: &[PathBuf], set: &[String]) -> Self {
        let files = match std::env::var_os(FILES_VARIABLE) {
            Some(named) if files.is_empty() => std::env::split_paths(&named)
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
            _ => files.to_vec(),
        };
        Self {
            files,
            environment: std::env::vars_os().collect(),
            set: set.to_vec(),
        }
    }

    /// Every key that is set, with its value from the highest layer, and the origin of that value.
    pub(super) fn merge(
        &self,
        reference: &Reference,
        problems: &mut Problems,
    ) -> Map<String, Value> {
        let mut layers = LayerReader {
            reference,
            problems,
            values: Vec::new(),
        };
        for path in &self.files {
            layers.file(path);
        }
        layers.environment(&self.environment);
        layers.flags(&self.set);
        let mut values = layers.values.into_iter();
        let merged = values
            .try_fold(Config::builder(), |builder, (key, value)| {
                builder.set_override(key, value)
            })
            .and_then(|builder| builder.build()?.collect());
        // All keys are in the reference, and all values are in memory.
        flatten(merged.unwrap_or_else(|error| panic!("the settings cannot be merged: {error}")))
    }
}

/// Reads the layers, lowest first, and keeps the keys that are in the reference.
struct LayerReader<'a> {
    reference: &'a Reference,
    problems: &'a mut Problems,
    values: Vec<(String, Value)>,
}

impl LayerReader<'_> {
    fn file(&mut self, path: &PathBuf) {
        let name = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let words = format!("cannot be read: {error}");
                return self.problems.add_source(name, words);
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            // The message alone: `Display` adds a snippet, which could show a secret.
            let line = line_of(&text, error.span().map_or(0, |span| span.start));
            let words = format!("is not valid TOML: {}", error.message().trim());
            self.problems.add_source(format!("{name}:{line}"), words);
        }
        if !errors.is_empty() {
            return;
        }
        for leaf in leaves(table.get_ref()) {
            let origin = format!("{name}:{}", line_of(&text, leaf.at));
            // An empty section is fine: all its keys may be commented out.
            let is_empty_section = leaf.is_empty_table && self.reference.has_section(&leaf.key);
            match self.reference.get(&leaf.key) {
                Some(_) => self.put(&leaf.key, leaf.value, &origin),
                None if is_empty_section => {}
                None => self.unknown(&leaf.key, &origin, str::to_owned),
            }
        }
    }

    fn environment(&mut self, variables: &[(OsString, OsString)]) {
        let mut variables: BTreeMap<_, _> = variables
            .iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| name.to_uppercase().starts_with("APP_") && name != FILES_VARIABLE)
            .collect();
        for Described { key, default, .. } in self.reference.described() {
            let name = variable(key);
            let file = format!("{name}_FILE");
            match (variables.remove(&name), variables.remove(&file)) {
                (None, None) => {}
                (Some(value), None) => match value.to_str() {
                    Some(value) => self.put(key, typed(value, default), &name),
                    None => self.problems.add_source(name, "is not valid UTF-8"),
                },
                (None, Some(path)) => self.value_in_file(key, default, &file, path),
                (Some(_), Some(_)) => {
                    let words = format!("is set by {name} as well; keep one of the two");
                    self.problems.add_key(key, &file, words);
                }
            }
        }
        for name in variables.keys() {
            self.unknown_variable(name);
        }
    }

    fn value_in_file(&mut self, key: &str, default: &ValueKind, name: &str, path: &OsString) {
        let path = path.to_string_lossy();
        let origin = format!("{name} ({path})");
        match fs::read_to_string(&*path) {
            Ok(text) => {
                let line = text.strip_suffix("\r\n").or(text.strip_suffix('\n'));
                let text = line.unwrap_or(&text);
                if text.is_empty() {
                    // Most likely a secret that was not mounted.
                    self.problems
                        .add_key(key, &origin, "is empty: the file has no value");
                }
                self.put(key, typed(text, default), &origin);
            }
            Err(error) => {
                // Do not show a value without a slash: it may be the secret, in the wrong variable.
                let named = if path.contains('/') { &origin } else { name };
                let words = format!("names a file that cannot be read: {error}");
                self.problems.add_source(named, words);
            }
        }
    }

    fn flags(&mut self, set: &[String]) {
        for pair in set {
            let Some((key, value)) = pair.split_once('=') else {
                // The text is not shown: it may contain a secret.
                let words = "expected `--set key=value`, found no `=`";
                self.problems.add_source("--set", words);
                continue;
            };
            match self.reference.get(key) {
                Some(described) => self.put(key, typed(value, &described.default), "--set"),
                None => self.unknown(key, "--set", str::to_owned),
            }
        }
    }

    fn put(&mut self, key: &str, value: ValueKind, origin: &str) {
        let value = Value::new(Some(&origin.to_owned()), value);
        self.values.push((key.to_owned(), value));
    }

    /// Reports an unknown key. `spell` writes a key in the notation of this layer.
    fn unknown(&mut self, key: &str, origin: &str, spell: fn(&str) -> String) {
        let words = if self.reference.has_section(key) {
            "is a section: its settings have names of their own".to_owned()
        } else if let Some(near) = self.reference.nearest(key) {
            format!("is not a setting; did you mean `{}`?", spell(near))
        } else {
            "is not a setting; `config env` lists all there are".to_owned()
        };
        self.problems.add_key(key, origin, words);
    }

    /// Reports a variable that is unknown, or differs from a known one by its case or its underscores. Others that
    /// begin with `APP_` belong to other programs.
    fn unknown_variable(&mut self, name: &str) {
        let upper = name.to_uppercase();
        let (stem, suffix) = match upper.strip_suffix("_FILE") {
            Some(stem) => (stem, "_FILE"),
            None => (upper.as_str(), ""),
        };
        let fold = |name: &str| name.replace('_', "");
        let mut keys = self.reference.keys();
        if let Some(key) = keys.find(|key| fold(&variable(key)) == fold(stem)) {
            let words = format!("is not read; did you mean `{}{suffix}`?", variable(key));
            self.problems.add_source(name, words);
        } else if let Some(path) = name.strip_prefix(PREFIX) {
            let key = path.to_lowercase().replace("__", ".");
            self.unknown(&key, name, variable);
        }
    }
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Converts text from the environment or the command line to the type of the default.
///
/// Numbers and flags are written as in TOML, so `0123` and `yes` are neither. Text that does not convert stays
/// text, and is later reported as the wrong type.
fn typed(text: &str, default: &ValueKind) -> ValueKind {
    match default {
        // Items have the type of the first default. Without one, they are text.
        ValueKind::Array(defaults) => ValueKind::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| match defaults.first() {
                    Some(default) => Value::new(None, typed(item, &default.kind)),
                    None => Value::new(None, item),
                })
                .collect(),
        ),
        ValueKind::String(_) => ValueKind::String(text.to_owned()),
        _ => match text.parse() {
            Ok(toml::Value::Integer(number)) => ValueKind::I64(number),
            Ok(toml::Value::Float(number)) => ValueKind::Float(number),
            Ok(toml::Value::Boolean(flag)) => ValueKind::Boolean(flag),
            _ => ValueKind::String(text.to_owned()),
        },
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Flattens the merged tables to dotted keys.
fn flatten(table: Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    for (name, value) in table {
        if let ValueKind::Table(inner) = value.kind {
            let inner = flatten(inner).into_iter();
            flat.extend(inner.map(|(rest, value)| (format!("{name}.{rest}"), value)));
        } else {
            flat.insert(name, value);
        }
    }
    flat
}
