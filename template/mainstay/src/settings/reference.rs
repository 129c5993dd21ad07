//! The reference: every key with its default and its meaning.
//!
//! It consists of TOML files: those of the machinery and the service's `config/default.toml`, which adds its own settings
//! and may change the machinery's defaults. A key that is in none of the files does not exist.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// The start of each variable that sets a key.
pub(super) const PREFIX: &str = "APP__";

#[derive(Debug, Default)]
pub(crate) struct Reference {
    /// Section by section, each in the order in which the files name it first.
    pub(super) keys: Vec<Described>,
    /// The comment above the head of each section.
    sections: BTreeMap<String, String>,
}

/// One key of the reference.
#[derive(Debug, PartialEq)]
pub(super) struct Described {
    /// `section.key`
    pub(super) key: String,
    pub(super) default: Value,
    /// The comment above the key, as it is written.
    comment: String,
}

impl Described {
    fn is_beside(&self, other: &Self) -> bool {
        split(&self.key).0 == split(&other.key).0
    }
}

impl Reference {
    /// Parses one or more files. A later file may change the default and the comment of a key. Panics if one is not valid
    /// TOML: they are compiled in.
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
        let mut leaves = leaves(table.get_ref(), "");
        leaves.sort_by_key(|(_, _, at)| *at);
        for (key, default, at) in leaves {
            let described = Described {
                key,
                default,
                comment: comment_above(text, at).to_owned(),
            };
            if let Some(known) = self.keys.iter_mut().find(|it| it.key == described.key) {
                known.default = described.default;
                if !described.comment.is_empty() {
                    known.comment = described.comment;
                }
                continue;
            }
            let last = self.keys.iter().rposition(|it| it.is_beside(&described));
            let index = last.map_or(self.keys.len(), |last| last + 1);
            self.keys.insert(index, described);
        }
        for (name, value) in table.get_ref() {
            let comment = comment_above(text, name.span().start);
            if value.get_ref().is_table() && !comment.is_empty() {
                let name = name.get_ref().to_string();
                self.sections.insert(name, comment.to_owned());
            }
        }
    }

    /// The whole reference as one TOML file: `config default`.
    #[must_use]
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::new();
        for section in self.keys.chunk_by(Described::is_beside) {
            let name = split(&section[0].key).0;
            let gap = if text.is_empty() { "" } else { "\n" };
            let comment = self.sections.get(name).map_or("", String::as_str);
            _ = writeln!(text, "{gap}{comment}[{name}]");
            for known in section {
                let name = split(&known.key).1;
                _ = writeln!(text, "{}{name} = {}", known.comment, known.default);
            }
        }
        text
    }

    /// Every variable with its meaning and its default, as an environment file: `config env`.
    #[must_use]
    pub(crate) fn to_environment(&self) -> String {
        let mut text = String::from(
            "# Every setting, as the variable that sets it. With _FILE behind its name, a variable\n\
             # names a file that holds the value.\n",
        );
        for section in self.keys.chunk_by(Described::is_beside) {
            _ = writeln!(text, "\n# [{}]", split(&section[0].key).0);
            for known in section {
                let (name, value) = (variable(&known.key), in_variable(&known.default));
                _ = writeln!(text, "\n{}{name}={value}", known.comment);
            }
        }
        text
    }

    /// Every key, section by section.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|known| known.key.as_str())
    }

    /// The comment above a key.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn meaning(&self, key: &str) -> &str {
        self.get(key).map_or("", |known| &known.comment)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Described> {
        self.keys.iter().find(|known| known.key == key)
    }

    /// The key or the section of a field in this section: `section.field`; or, in another section, the key of this name,
    /// such as `health.archive` for the field `health` of `[archive]`. A field with a dot in its name is a key.
    pub(super) fn resolve(&self, section: &str, field: &str) -> String {
        if section.is_empty() || field.contains('.') {
            return field.to_owned();
        }
        let own = format!("{section}.{field}");
        let elsewhere = format!("{field}.{section}");
        let is_elsewhere = self.get(&own).is_none() && self.get(&elsewhere).is_some();
        if is_elsewhere { elsewhere } else { own }
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

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// A value as it is written in a variable.
fn in_variable(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(in_variable).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Every value of a table of TOML, with its dotted key, which begins with the prefix, and the offset of the key. An empty
/// table is a value too, so that a mistyped name of a section is found.
pub(super) fn leaves(table: &DeTable<'_>, prefix: &str) -> Vec<(String, Value, usize)> {
    let mut found = Vec::new();
    for (name, value) in table {
        let at = name.span().start;
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => {
                found.extend(leaves(inner, &format!("{key}.")));
            }
            _ => {
                let value = Value::deserialize(ValueDeserializer::from(value.clone()));
                // A whole number that exceeds 64 bits fits no setting.
                let value = value.unwrap_or(Value::Float(f64::INFINITY));
                found.push((key, value, at));
            }
        }
    }
    found
}

/// The lines of comment directly above a key.
fn comment_above(text: &str, at: usize) -> &str {
    let above = &text[..text[..at].rfind('\n').map_or(0, |end| end + 1)];
    let lines = above.split_inclusive('\n').rev();
    let comment = lines.take_while(|line| line.starts_with('#'));
    let length: usize = comment.map(str::len).sum();
    &above[above.len() - length..]
}
