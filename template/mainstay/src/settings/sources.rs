//! The layers that settings come from, and what each says of every key.
//!
//! Each value carries its origin into `config`, which merges the layers: `prod.toml:12`, the name
//! of the variable, or `--set`. A key that the reference does not have never gets that far.

#![expect(
    clippy::disallowed_methods,
    reason = "a start has nothing else to do, and settings that are read again are few"
)]

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use config::{Map, Value, ValueKind};
use toml::de::DeTable;

use super::reference::{Described, Reference, leaves};
use super::report::{Problem, Problems};

const PREFIX: &str = "APP__";
/// Names files when no `--config` does; several are separated as in `PATH`.
const FILES_VARIABLE: &str = "APP_CONFIG";

/// What the user gave, before anything has been read.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Files, lowest first.
    pub(crate) files: Vec<PathBuf>,
    /// The environment of the process.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Each `key=value` of `--set`, lowest first.
    pub(crate) set: Vec<String>,
}

impl Sources {
    /// What the command line gave, and the environment of this process.
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

    /// Every known key with the value that won and its origin.
    pub(super) fn merge(
        &self,
        reference: &Reference,
        problems: &mut Problems,
    ) -> Map<String, Value> {
        let mut intake = Intake {
            reference,
            problems,
            layer: Layer::default(),
        };
        let mut builder = config::Config::builder().add_source(intake.defaults());
        for path in &self.files {
            builder = builder.add_source(intake.file(path));
        }
        builder = builder.add_source(intake.environment(&self.environment));
        builder = builder.add_source(intake.flags(&self.set));
        // A layer only has values in memory, so that merging them cannot fail; were it ever to,
        // no value at all is the safe outcome: each key then reads as its default.
        let merged = builder
            .build()
            .and_then(|merged| config::Source::collect(&merged));
        flatten(merged.unwrap_or_default())
    }
}

/// The values of one layer by their dotted keys.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Takes in a layer at a time, and lets through only what the reference knows.
struct Intake<'a> {
    reference: &'a Reference,
    problems: &'a mut Problems,
    layer: Layer,
}

impl<'a> Intake<'a> {
    fn defaults(&mut self) -> Layer {
        for Described { key, default, .. } in self.reference.described() {
            self.put(key, default.clone(), "default");
        }
        std::mem::take(&mut self.layer)
    }

    fn file(&mut self, path: &PathBuf) -> Layer {
        let name = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.problems
                    .add(Problem::of_source(name, format!("cannot be read: {error}")));
                return Layer::default();
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            // The message alone: the snippet that `Display` adds could show a secret.
            let line = line_of(&text, error.span().map_or(0, |span| span.start));
            let words = format!("is not valid TOML: {}", error.message().trim());
            self.problems
                .add(Problem::of_source(format!("{name}:{line}"), words));
        }
        if errors.is_empty() {
            for leaf in leaves(table.get_ref()) {
                let origin = format!("{name}:{}", line_of(&text, leaf.at));
                let section = format!("{}.", leaf.key);
                let empty = matches!(leaf.value, ValueKind::Table(_));
                match self.reference.get(&leaf.key) {
                    Some(_) if empty => {
                        let words = "is a setting, and not a section";
                        self.problems
                            .add(Problem::of_key(&leaf.key, None, &origin, words));
                    }
                    Some(_) => self.put(&leaf.key, leaf.value, &origin),
                    // A section that sets nothing, as when all of it is commented out.
                    None if empty && self.reference.keys().any(|key| key.starts_with(&section)) => {
                    }
                    None => self.unknown(&leaf.key, &origin, str::to_owned),
                }
            }
        }
        std::mem::take(&mut self.layer)
    }

    fn environment(&mut self, variables: &[(OsString, OsString)]) -> Layer {
        let mut variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| name.to_uppercase().starts_with("APP_") && name != FILES_VARIABLE)
            .collect();
        variables.sort();
        for (name, value) in variables {
            let Some(path) = name.strip_prefix(PREFIX) else {
                self.almost_a_variable(&name);
                continue;
            };
            let Some(value) = value.to_str() else {
                self.problems
                    .add(Problem::of_source(&name, "is not valid UTF-8"));
                continue;
            };
            let key = key_of(path);
            if let Some(described) = self.reference.get(&key).filter(|_| name == variable(&key)) {
                self.put_once(&key, typed(value, &described.default), &name);
            } else if let Some((key, described)) = self.file_variable(&name) {
                self.value_in_file(&key, described, &name, value);
            } else {
                self.unknown(&key, &name, variable);
            }
        }
        std::mem::take(&mut self.layer)
    }

    fn flags(&mut self, set: &[String]) -> Layer {
        for pair in set {
            let Some((key, value)) = pair.split_once('=') else {
                // Not shown whole: what was meant as a value may be a secret.
                let words = "expected `--set key=value`, found no `=`";
                self.problems.add(Problem::of_source("--set", words));
                continue;
            };
            match self.reference.get(key) {
                Some(described) => self.put(key, typed(value, &described.default), "--set"),
                None => self.unknown(key, "--set", str::to_owned),
            }
        }
        std::mem::take(&mut self.layer)
    }

    /// The key that `APP__SECTION__KEY_FILE` speaks of.
    fn file_variable(&self, name: &str) -> Option<(String, &'a Described)> {
        let key = key_of(name.strip_prefix(PREFIX)?.strip_suffix("_FILE")?);
        let described = self.reference.get(&key)?;
        (name == format!("{}_FILE", variable(&key))).then_some((key, described))
    }

    fn value_in_file(&mut self, key: &str, described: &Described, name: &str, path: &str) {
        let origin = format!("{name} ({path})");
        match fs::read_to_string(path) {
            Ok(text) => {
                let text = text.strip_suffix('\n').map_or(&*text, |line| {
                    // Editors end a line on Windows with both.
                    line.strip_suffix('\r').unwrap_or(line)
                });
                let value = typed(text, &described.default);
                self.put_once(key, value, &origin);
            }
            Err(error) => {
                // What is no path may be the secret itself, set in the wrong variable.
                let named = if path.contains('/') {
                    origin
                } else {
                    name.to_owned()
                };
                let words = format!("names a file that cannot be read: {error}");
                self.problems.add(Problem::of_source(named, words));
            }
        }
    }

    fn put(&mut self, key: &str, value: ValueKind, origin: &str) {
        let value = Value::new(Some(&origin.to_owned()), value);
        self.layer.0.insert(key.to_owned(), value);
    }

    /// A variable and its `_FILE` twin have no order between them: both is a mistake.
    fn put_once(&mut self, key: &str, value: ValueKind, origin: &str) {
        if let Some(other) = self.layer.0.get(key).and_then(Value::origin) {
            let words = format!("is set by {other} as well; keep one of the two");
            self.problems.add(Problem::of_key(key, None, origin, words));
        } else {
            self.put(key, value, origin);
        }
    }

    /// `spell` writes a key the way this layer does.
    fn unknown(&mut self, key: &str, origin: &str, spell: fn(&str) -> String) {
        let section = format!("{key}.");
        let words = match self.reference.nearest(key) {
            _ if self
                .reference
                .keys()
                .any(|known| known.starts_with(&section)) =>
            {
                "is a section: its settings have names of their own".to_owned()
            }
            Some(near) => format!("is not a setting; did you mean `{}`?", spell(near)),
            None => "is not a setting; `config env` lists all there are".to_owned(),
        };
        self.problems.add(Problem::of_key(key, None, origin, words));
    }

    /// One underscore where two are needed, or lower case: not ours by its name, ours by intent.
    fn almost_a_variable(&mut self, name: &str) {
        let whole = name.to_uppercase();
        let (stem, suffix) = match whole.strip_suffix("_FILE") {
            Some(stem) => (stem, "_FILE"),
            None => (whole.as_str(), ""),
        };
        let folded = fold(stem);
        if let Some(key) = self
            .reference
            .keys()
            .find(|key| fold(&variable(key)) == folded)
        {
            let words = format!("is not read; did you mean `{}{suffix}`?", variable(key));
            self.problems.add(Problem::of_source(name, words));
        }
    }
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn key_of(path: &str) -> String {
    path.to_lowercase().replace("__", ".")
}

fn fold(name: &str) -> String {
    name.to_uppercase()
        .split('_')
        .filter(|part| !part.is_empty())
        .collect()
}

/// Text from the environment or the command line, as the type that the reference has there.
///
/// TOML's own grammar decides what a number or a flag is, so that `0123` and `yes` are neither;
/// what does not fit stays text, and is then reported as the wrong type. Text stays as it is.
fn typed(text: &str, default: &ValueKind) -> ValueKind {
    match default {
        // Items are what the first default is, and text where there is none.
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

/// The merged tables as dotted keys.
fn flatten(table: Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    for (name, value) in table {
        match value.kind {
            ValueKind::Table(inner) => {
                for (rest, value) in flatten(inner) {
                    flat.insert(format!("{name}.{rest}"), value);
                }
            }
            _ => {
                flat.insert(name, value);
            }
        }
    }
    flat
}
