//! The reference, `config/default.toml`: every key there is, its default and its meaning.
//!
//! It is the one place in which a setting is described. The defaults are the lowest layer of the
//! settings, the comments become `config env`, and a key that is not in it does not exist.

use std::collections::BTreeMap;

use config::ValueKind;
use toml::de::{DeTable, DeValue};

/// The parsed reference, in the order of the file.
#[derive(Debug)]
pub struct Reference {
    keys: Vec<Described>,
    by_name: BTreeMap<String, usize>,
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
    /// Parses the reference.
    ///
    /// # Panics
    ///
    /// When it is not valid TOML. It is compiled in, so this is a mistake in the program.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let table = DeTable::parse(text)
            .unwrap_or_else(|error| panic!("config/default.toml is not valid TOML: {error}"));
        let mut keys: Vec<_> = leaves(table.get_ref())
            .into_iter()
            .map(|leaf| {
                let meaning = comment_above(text, leaf.at);
                (
                    leaf.at,
                    Described {
                        key: leaf.key,
                        default: leaf.value,
                        meaning,
                    },
                )
            })
            .collect();
        keys.sort_by_key(|(at, _)| *at);
        let keys: Vec<_> = keys.into_iter().map(|(_, described)| described).collect();
        let by_name = keys
            .iter()
            .enumerate()
            .map(|(index, described)| (described.key.clone(), index))
            .collect();
        Self { keys, by_name }
    }

    /// Every key, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|described| described.key.as_str())
    }

    /// What the comment above a key says, line by line.
    #[must_use]
    pub fn meaning(&self, key: &str) -> &[String] {
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
