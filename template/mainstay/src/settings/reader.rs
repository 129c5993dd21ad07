//! Turns merged values into typed structs, and collects every problem.
//!
//! A wrong value is reported, and its default is read in its place, so that further problems are found. If
//! there is any problem, the result is discarded.

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::ops::{Bound, RangeBounds};
use std::sync::LazyLock;

use config::{Map, Value, ValueKind};

use super::report::{Problems, Subject};
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
    let mut reader = Reader {
        reference,
        values,
        prefix: String::new(),
        entries: Vec::new(),
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
        let Some(described) = self.reference.get(key) else {
            panic!("no reference describes the setting `{key}`, which the program reads");
        };
        let (kind, source) = match self.values.get(key) {
            Some(value) => (&value.kind, value.origin().unwrap_or("default")),
            None => (&described.default, "default"),
        };
        let parsed = T::parse(kind);
        let entry = Entry {
            key: key.to_owned(),
            value: redacted(kind, parsed.as_ref()),
            source: source.to_owned(),
            fingerprint: fingerprint(kind),
        };
        if parsed.is_none() {
            let mut subject = entry.subject();
            if T::SECRET {
                subject.value = None;
            }
            self.problems.add_unexpected(subject, &T::expected());
        } else if let Some(words) = secret_problem::<T>(kind, &entry) {
            self.problems.add_key(key, source, words);
        }
        self.entries.push(entry);
        parsed
            .or_else(|| T::parse(&described.default))
            .unwrap_or_else(|| {
                let expected = T::EXPECTED;
                panic!("the default of the setting `{key}` is not {expected}")
            })
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

/// What is wrong with a secret that parses: an empty file, or a place where others can read it.
fn secret_problem<T: Setting>(kind: &ValueKind, entry: &Entry) -> Option<String> {
    if !T::SECRET {
        return None;
    }
    if is_empty(kind) && entry.source.contains("_FILE (") {
        return Some("is empty: a secret that is not there".to_owned());
    }
    // A URL without a password, for example, is not redacted.
    let is_redacted = entry.value != toml_of(kind).to_string();
    (entry.source == "--set" && is_redacted).then(|| {
        let variable = variable(&entry.key);
        format!("is a secret, which `--set` would show to everybody; set {variable}_FILE instead")
    })
}

/// The value as TOML, redacted. A refused URL may belong to another setting.
fn redacted<T: Setting>(kind: &ValueKind, parsed: Option<&T>) -> String {
    let plain = toml_of(kind);
    let may_have_secret = |text: &str| text.contains("://") && text.contains(['@', '?']);
    let value = match parsed {
        None if may_have_secret(&plain.to_string()) => REDACTED.into(),
        _ if !T::SECRET || is_empty(kind) => plain,
        Some(secret) => secret.redacted().into(),
        None => REDACTED.into(),
    };
    value.to_string()
}

fn is_empty(kind: &ValueKind) -> bool {
    match kind {
        ValueKind::String(text) => text.is_empty(),
        ValueKind::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn fingerprint(kind: &ValueKind) -> u64 {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    SEED.hash_one(toml_of(kind).to_string())
}

impl Entry {
    fn subject(&self) -> Subject {
        Subject {
            name: self.key.clone(),
            value: Some(self.value.clone()),
            source: Some(self.source.clone()),
        }
    }
}

/// Collects the problems of a section. A key without a dot belongs to the section that is checked.
#[derive(Debug)]
pub struct Check<'a> {
    prefix: &'a str,
    entries: &'a [Entry],
    problems: &'a mut Problems,
}

impl Check<'_> {
    /// Reports this key unless its value is a whole number in the range.
    pub fn range<T>(&mut self, key: &str, value: T, range: impl RangeBounds<T>)
    where
        T: Copy + PartialOrd + Display,
    {
        let expected = match (range.start_bound(), range.end_bound()) {
            (Bound::Included(least), Bound::Included(most)) => {
                format!("a whole number from {least} to {most}")
            }
            (Bound::Included(least), _) => format!("a whole number, {least} or more"),
            (_, Bound::Included(most)) => format!("a whole number up to {most}"),
            _ => return,
        };
        // A value of another type was reported with the range of the type.
        self.problems.expect_of(&self.full(key), &expected);
        self.that(
            range.contains(&value),
            &[key],
            format!("expected {expected}"),
        );
    }

    /// Reports these keys unless `holds`. `words` say what must be the case.
    ///
    /// It reports nothing if one of the values has a problem already, since its default was read in its place.
    pub fn that(&mut self, holds: bool, keys: &[&str], words: impl Into<String>) {
        let keys: Vec<_> = keys.iter().map(|key| self.full(key)).collect();
        if holds || keys.iter().any(|key| self.problems.concern(key)) {
            return;
        }
        let entries = keys.iter().filter_map(|key| self.entry(key));
        self.problems
            .add(entries.map(Entry::subject).collect(), words);
    }

    /// The value of a setting that was read before, such as one of another section. `None` if it was not
    /// read, or is a secret or a list.
    #[must_use]
    pub fn value<T: Setting>(&self, key: &str) -> Option<T> {
        match self.entry(&self.full(key))?.value.parse() {
            Ok(toml::Value::String(text)) => T::parse(&ValueKind::String(text)),
            Ok(toml::Value::Integer(number)) => T::parse(&ValueKind::I64(number)),
            Ok(toml::Value::Float(number)) => T::parse(&ValueKind::Float(number)),
            Ok(toml::Value::Boolean(flag)) => T::parse(&ValueKind::Boolean(flag)),
            _ => None,
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn full(&self, key: &str) -> String {
        if key.contains('.') {
            return key.to_owned();
        }
        format!("{}{key}", self.prefix)
    }
}
