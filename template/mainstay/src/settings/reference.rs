//! The reference: every key there is, its default and its meaning.
//!
//! It is put together from TOML files: those of the machinery and the service's `config/default.toml`,
//! which adds its own settings and may change the machinery's defaults. The defaults are the lowest
//! layer of the settings, the comments become `config env` and `config default`, and a key that is in
//! none of the files does not exist.

use std::collections::BTreeMap;
use std::fmt::Write;

use config::ValueKind;
use toml::de::{DeTable, DeValue};

use super::value::toml_of;

/// The parsed reference, section by section.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    keys: Vec<Described>,
    by_name: BTreeMap<String, usize>,
    /// The comment above the head of a section, line by line.
    sections: BTreeMap<String, Vec<String>>,
}

/// One key of the reference.
#[derive(Debug)]
pub(super) struct Described {
    /// `section.key`
    pub(super) key: String,
    pub(super) default: ValueKind,
    /// The comment above the key, without its marks, line by line.
    pub(super) meaning: Vec<String>,
}

impl Reference {
    /// Parses the reference, of one file or several. A later file may give a key another default, and
    /// another comment.
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
        reference.sort_by_section();
        reference
    }

    fn add(&mut self, text: &str) {
        let table = DeTable::parse(text)
            .unwrap_or_else(|error| panic!("a reference of settings is not valid TOML: {error}"));
        let mut leaves = leaves(table.get_ref());
        leaves.sort_by_key(|leaf| leaf.at);
        for leaf in leaves {
            let meaning = comment_above(text, leaf.at);
            if let Some(index) = self.by_name.get(&leaf.key) {
                let described = &mut self.keys[*index];
                described.default = leaf.value;
                if !meaning.is_empty() {
                    described.meaning = meaning;
                }
                continue;
            }
            self.by_name.insert(leaf.key.clone(), self.keys.len());
            self.keys.push(Described {
                key: leaf.key,
                default: leaf.value,
                meaning,
            });
        }
        for (name, value) in table.get_ref() {
            let comment = comment_above(text, name.span().start);
            if matches!(value.get_ref(), DeValue::Table(_)) && !comment.is_empty() {
                self.sections.insert(name.get_ref().to_string(), comment);
            }
        }
    }

    /// Keeps the keys of a section together, in the order in which the sections came first.
    fn sort_by_section(&mut self) {
        let mut order = Vec::new();
        for described in &self.keys {
            let section = section_of(&described.key);
            if !order.iter().any(|known| known == section) {
                order.push(section.to_owned());
            }
        }
        let place = |key: &str| order.iter().position(|known| known == section_of(key));
        self.keys.sort_by_key(|described| place(&described.key));
        let by_name = self.keys.iter().enumerate();
        self.by_name = by_name
            .map(|(index, described)| (described.key.clone(), index))
            .collect();
    }

    /// The whole reference as one TOML file.
    #[must_use]
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        let comment = |text: &mut String, lines: &[String]| {
            for line in lines {
                text.push_str(format!("# {line}").trim_end());
                text.push('\n');
            }
        };
        for described in &self.keys {
            let own = section_of(&described.key);
            if own != section {
                if !text.is_empty() {
                    text.push('\n');
                }
                comment(&mut text, self.sections.get(own).map_or(&[], Vec::as_slice));
                // Writing to a string does not fail.
                _ = writeln!(text, "[{own}]");
                section = own;
            }
            comment(&mut text, &described.meaning);
            let name = described.key.strip_prefix(own).unwrap_or(&described.key);
            let name = name.trim_start_matches('.');
            _ = writeln!(text, "{name} = {}", toml_of(&described.default));
        }
        text
    }

    /// Every key, in the order of the file.
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
        self.by_name.get(key).map(|index| &self.keys[*index])
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

/// `section` of `section.key`.
fn section_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(section, _)| section)
}

/// A value in a TOML document: its dotted key, and at which byte the key stands.
pub(super) struct Leaf {
    pub(super) key: String,
    pub(super) value: ValueKind,
    pub(super) at: usize,
}

/// Every value of a document, tables flattened. An empty table is a leaf of its own, so that a
/// section with a mistyped name is not passed over.
pub(super) fn leaves(table: &DeTable<'_>) -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(table, "", &mut found);
    found
}

fn collect(table: &DeTable<'_>, prefix: &str, found: &mut Vec<Leaf>) {
    for (name, value) in table {
        // A dot within a name is no separator, and none of ours has one.
        let name_of = name.get_ref();
        let own = if name_of.contains('.') {
            format!("{name_of:?}")
        } else {
            name_of.to_string()
        };
        let key = if prefix.is_empty() {
            own
        } else {
            format!("{prefix}.{own}")
        };
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => collect(inner, &key, found),
            other => found.push(Leaf {
                key,
                value: plain(other),
                at: name.span().start,
            }),
        }
    }
}

/// TOML's value as `config` knows it. What does not fit, a moment or a number beyond 64 bits, is
/// nothing that any setting takes.
fn plain(value: &DeValue<'_>) -> ValueKind {
    match value {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(ValueKind::Nil, ValueKind::I64),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or(ValueKind::Nil, ValueKind::Float),
        DeValue::Datetime(_) => ValueKind::Nil,
        DeValue::Array(items) => ValueKind::Array(
            items
                .iter()
                .map(|item| config::Value::new(None, plain(item.get_ref())))
                .collect(),
        ),
        DeValue::Table(_) => ValueKind::Table(config::Map::new()),
    }
}

/// The lines of comment that stand directly above a key.
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
