//! Turns merged values into typed structs, and collects every problem.
//!
//! A wrong value is reported and its default read in its place, so that later problems are found as
//! well. With a single problem, the result is discarded.

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use config::{Map, Value, ValueKind};

use super::report::{Problem, Problems, Subject};
use super::sources::variable;
use super::value::{REDACTED, Setting, toml_of};
use super::{Entry, Loaded, Reference};

/// A struct of settings that belong together, declared beside the code that it configures.
pub trait Section: Sized {
    /// Reads each field by its key in the reference.
    fn read(from: &mut Reader<'_>) -> Self;

    /// Reports values that are out of range, or that contradict each other.
    fn check(&self, _check: &mut Check<'_>) {}
}

/// Reads the values of the sections.
#[derive(Debug)]
pub struct Reader<'a> {
    reference: &'a Reference,
    values: Map<String, Value>,
    /// The section being read, with its dot; empty at the root.
    prefix: String,
    entries: Vec<Entry>,
    problems: Problems,
}

pub(super) fn read<S: Section>(
    reference: &Reference,
    values: Map<String, Value>,
    problems: Problems,
) -> Result<Loaded<S>, Problems> {
    let entries = Vec::new();
    let mut reader = Reader {
        reference,
        values,
        prefix: String::new(),
        entries,
        problems,
    };
    let settings = reader.read();
    if reader.problems.is_empty() {
        Ok(Loaded {
            settings,
            entries: reader.entries,
        })
    } else {
        Err(reader.problems)
    }
}

impl Reader<'_> {
    /// Reads a section below the current one.
    pub fn section<S: Section>(&mut self, name: &str) -> S {
        let prefix = format!("{}{name}.", self.prefix);
        let outer = std::mem::replace(&mut self.prefix, prefix);
        let section = self.read();
        self.prefix = outer;
        section
    }

    /// Reads another struct from the current section.
    pub fn part<S: Section>(&mut self) -> S {
        self.read()
    }

    /// The name of the current section.
    #[must_use]
    pub fn name(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }

    /// Reads one value of the current section.
    ///
    /// # Panics
    ///
    /// Like [`value_at`](Self::value_at).
    pub fn value<T: Setting>(&mut self, name: &str) -> T {
        self.value_at(&format!("{}{name}", self.prefix))
    }

    /// Reads one value by its full key, `section.key`.
    ///
    /// # Panics
    ///
    /// If the reference does not have the key, or has a default that is not valid: a mistake in the
    /// program, which every test that loads the settings finds.
    pub fn value_at<T: Setting>(&mut self, key: &str) -> T {
        let key = key.to_owned();
        let default = match self.reference.get(&key) {
            Some(described) => &described.default,
            None => panic!("no reference describes the setting `{key}`, which the program reads"),
        };
        let given = self.values.get(&key);
        let (kind, origin) = match given {
            Some(value) => (&value.kind, value.origin().unwrap_or("default")),
            None => (default, "default"),
        };
        let parsed = T::parse(kind);
        let entry = Entry {
            value: shown(kind, parsed.as_ref()),
            source: origin.to_owned(),
            secret: T::SECRET,
            mark: mark(kind),
            key,
        };
        if let Some(words) = wrong(kind, &entry, parsed.as_ref()) {
            let value = (!entry.secret).then(|| entry.value.clone());
            self.problems
                .add(Problem::of_key(&entry.key, value, &entry.source, words));
        }
        let value = parsed.or_else(|| T::parse(default)).unwrap_or_else(|| {
            panic!(
                "the default of the setting `{}` is not {}",
                entry.key,
                T::EXPECTED
            )
        });
        self.entries.push(entry);
        value
    }

    fn read<S: Section>(&mut self) -> S {
        let section = S::read(self);
        section.check(&mut Check {
            prefix: &self.prefix,
            entries: &self.entries,
            problems: &mut self.problems,
        });
        section
    }
}

/// What is wrong with one value by itself.
fn wrong<T: Setting>(kind: &ValueKind, entry: &Entry, parsed: Option<&T>) -> Option<String> {
    let Some(parsed) = parsed else {
        return Some(format!("expected {}", T::expected()));
    };
    let empty = matches!(kind, ValueKind::String(text) if text.is_empty());
    if T::SECRET && empty && entry.source.contains("_FILE (") {
        return Some("is empty: a secret that is not there".to_owned());
    }
    // Everybody on the machine can read a command line. A URL without a password may stand there.
    let harmless = matches!(kind, ValueKind::String(text) if *text == parsed.redacted());
    (T::SECRET && entry.source == "--set" && !harmless).then(|| {
        let variable = variable(&entry.key);
        format!("is a secret, which `--set` would show to everybody; set {variable}_FILE instead")
    })
}

/// The value as TOML, as far as it may be seen. A refused URL may be that of another setting.
fn shown<T: Setting>(kind: &ValueKind, parsed: Option<&T>) -> String {
    let plain = toml_of(kind).to_string();
    let may_have_secret = |text: &str| text.contains("://") && text.contains(['@', '?']);
    match (T::SECRET, parsed) {
        (false, None) if may_have_secret(&plain) => toml::Value::from(REDACTED).to_string(),
        (false, _) => plain,
        (true, Some(secret)) => toml::Value::from(secret.redacted()).to_string(),
        (true, None) => toml::Value::from(REDACTED).to_string(),
    }
}

/// Differs with the value, and with the process.
fn mark(kind: &ValueKind) -> u64 {
    static PROCESS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    PROCESS.hash_one(toml_of(kind).to_string())
}

/// Collects the problems of a section. A key without a dot belongs to the section that is checked.
#[derive(Debug)]
pub struct Check<'a> {
    prefix: &'a str,
    entries: &'a [Entry],
    problems: &'a mut Problems,
}

impl Check<'_> {
    /// Reports this key unless its value is in the range.
    pub fn range<T: Copy + PartialOrd + Display>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) {
        let words = format!("must be from {} to {}", range.start(), range.end());
        self.that(range.contains(&value), &[key], words);
    }

    /// Reports these keys unless `holds`. `words` say what must be the case.
    ///
    /// It reports nothing if one of the values is wrong already, since its default was read in its place.
    pub fn that(&mut self, holds: bool, keys: &[&str], words: impl Into<String>) {
        let keys: Vec<_> = keys.iter().map(|key| self.whole(key)).collect();
        if holds || keys.iter().any(|key| self.problems.concern(key)) {
            return;
        }
        let about = keys
            .iter()
            .filter_map(|key| self.entries.iter().find(|entry| entry.key == *key))
            .map(|entry| Subject {
                name: entry.key.clone(),
                value: Some(entry.value.clone()),
                origin: Some(entry.source.clone()),
            })
            .collect();
        self.problems.add(Problem::of_several(about, words));
    }

    /// The value of a setting that was read before, such as one of another section. `None` if it was not
    /// read, or is a secret or a list.
    #[must_use]
    pub fn value<T: Setting>(&self, key: &str) -> Option<T> {
        let key = self.whole(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        match entry.value.parse() {
            Ok(toml::Value::String(text)) => T::parse(&ValueKind::String(text)),
            Ok(toml::Value::Integer(number)) => T::parse(&ValueKind::I64(number)),
            Ok(toml::Value::Float(number)) => T::parse(&ValueKind::Float(number)),
            Ok(toml::Value::Boolean(flag)) => T::parse(&ValueKind::Boolean(flag)),
            _ => None,
        }
    }

    fn whole(&self, key: &str) -> String {
        if key.contains('.') {
            return key.to_owned();
        }
        format!("{}{key}", self.prefix)
    }
}
