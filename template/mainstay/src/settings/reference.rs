//! The reference: every key with its default and its meaning.
//!
//! It consists of TOML files: those of the machinery and the service's `config/default.toml`, which adds its
//! own settings and may change the machinery's defaults. The defaults are the lowest layer of the settings,
//! the comments become `config env` and `config default`, and a key that is in none of the files does not
//! exist.

use std::collections::BTreeMap;
use std::fmt::Write;

use config::{Value, ValueKind};
use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::value::toml_of;

#[derive(Debug, Default)]
pub(crate) struct Reference {
    /// Section by section, each in the order in which the files name it first.
    keys: Vec<Described>,
    /// The comment above the head of each section.
    sections: BTreeMap<String, Vec<String>>,
}

/// One key of the reference.
#[derive(Debug)]
pub(super) struct Described {
    /// `section.key`
    pub(super) key: String,
    pub(super) default: ValueKind,
    /// The comment above the key, line by line, without `#`.
    pub(super) meaning: Vec<String>,
}

impl Reference {
    /// Parses one or more files. A later file may change the default and the comment of a key.
    ///
    /// # Panics
    ///
    /// When a file is not valid TOML. They are compiled in, so this is a mistake in the program.
    #[must_use]
    pub(crate) fn new<T: AsRef<str>>(texts: &[T]) -> Self {
        let mut reference = Self::default();
        for text in texts {
            reference.add(text.as_ref());
        }
        reference
    }

    fn add(&mut self, text: &str) {
        let table = DeTable::parse(text)
            .unwrap_or_else(|error| panic!("a reference of settings is not valid TOML: {error}"));
        let mut leaves = leaves(table.get_ref());
        leaves.sort_by_key(|leaf| leaf.at);
        for Leaf { key, value, at, .. } in leaves {
            let meaning = comment_above(text, at);
            if let Some(known) = self.keys.iter_mut().find(|known| known.key == key) {
                known.default = value;
                if !meaning.is_empty() {
                    known.meaning = meaning;
                }
                continue;
            }
            let is_same_section = |known: &Described| split(&known.key).0 == split(&key).0;
            let last = self.keys.iter().rposition(is_same_section);
            let index = last.map_or(self.keys.len(), |last| last + 1);
            let described = Described {
                key,
                default: value,
                meaning,
            };
            self.keys.insert(index, described);
        }
        for (name, value) in table.get_ref() {
            let comment = comment_above(text, name.span().start);
            if matches!(value.get_ref(), DeValue::Table(_)) && !comment.is_empty() {
                self.sections.insert(name.get_ref().to_string(), comment);
            }
        }
    }

    /// The whole reference as one TOML file: `config default`.
    #[must_use]
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut current = "";
        for described in &self.keys {
            let (section, name) = split(&described.key);
            if section != current {
                if !text.is_empty() {
                    text.push('\n');
                }
                let comment = self.sections.get(section);
                push_comment(&mut text, comment.map_or(&[], Vec::as_slice));
                _ = writeln!(text, "[{section}]");
                current = section;
            }
            push_comment(&mut text, &described.meaning);
            _ = writeln!(text, "{name} = {}", toml_of(&described.default));
        }
        text
    }

    /// Every key, section by section.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|described| described.key.as_str())
    }

    /// The comment above a key, line by line.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn meaning(&self, key: &str) -> &[String] {
        self.get(key).map_or(&[], |described| &described.meaning)
    }

    pub(super) fn described(&self) -> &[Described] {
        &self.keys
    }

    pub(super) fn get(&self, key: &str) -> Option<&Described> {
        self.keys.iter().find(|described| described.key == key)
    }

    /// The key or the section of a field in this section: `section.field`; or, in another section, the key of this name,
    /// such as `health.archive` for the field `health` of `[archive]`. A field with a dot in its name is a key.
    pub(super) fn resolve(&self, section: &str, field: &str) -> Option<String> {
        if section.is_empty() || field.contains('.') {
            let is_known = self.get(field).is_some() || self.has_section(field);
            return is_known.then(|| field.to_owned());
        }
        let own = format!("{section}.{field}");
        if self.get(&own).is_some() || self.has_section(&own) {
            return Some(own);
        }
        let elsewhere = format!("{field}.{section}");
        self.get(&elsewhere).map(|_| elsewhere)
    }

    pub(super) fn has_section(&self, name: &str) -> bool {
        let prefix = format!("{name}.");
        self.keys().any(|key| key.starts_with(&prefix))
    }

    /// The known key that a mistyped one most likely meant.
    pub(super) fn nearest(&self, key: &str) -> Option<&str> {
        self.keys()
            .map(|known| (strsim::damerau_levenshtein(known, key), known))
            .filter(|(distance, known)| *distance <= 2.max(known.len() / 4))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known)
    }
}

/// The section and the name of a key.
pub(super) fn split(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or(("", key))
}

pub(super) fn push_comment(text: &mut String, lines: &[String]) {
    for line in lines {
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
}

/// A value in a TOML document.
pub(super) struct Leaf {
    /// Dotted.
    pub(super) key: String,
    pub(super) value: ValueKind,
    /// An empty table is a value too, so that a mistyped name of a section is found.
    pub(super) is_empty_table: bool,
    /// The offset of the key, in bytes.
    pub(super) at: usize,
}

/// Every value of a document.
pub(super) fn leaves(table: &DeTable<'_>) -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(table, "", &mut found);
    found
}

fn collect(table: &DeTable<'_>, prefix: &str, found: &mut Vec<Leaf>) {
    for (name, value) in table {
        let mut key = name.get_ref().to_string();
        if key.contains('.') {
            // A dot within a name does not separate. No setting has such a name.
            key = format!("{key:?}");
        }
        key.insert_str(0, prefix);
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => {
                collect(inner, &format!("{key}."), found);
            }
            other => found.push(Leaf {
                key,
                is_empty_table: other.is_table(),
                // No setting takes a table, or a date, which is a table to serde.
                value: Value::deserialize(ValueDeserializer::from(value.clone()))
                    .map(|value| value.kind)
                    .ok()
                    .filter(|kind| !matches!(kind, ValueKind::Table(_)))
                    .unwrap_or(ValueKind::Nil),
                at: name.span().start,
            }),
        }
    }
}

/// The lines of comment directly above a key.
fn comment_above(text: &str, at: usize) -> Vec<String> {
    let before = &text[..text[..at].rfind('\n').map_or(0, |end| end + 1)];
    let mut lines: Vec<_> = before
        .lines()
        .rev()
        .map_while(|line| line.strip_prefix('#'))
        .map(|line| line.trim().to_owned())
        .collect();
    lines.reverse();
    lines
}
