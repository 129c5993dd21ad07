//! The table of all settings: the comment and the default of each, the value in force, and what set it. The commands
//! `config` print it.
//!
//! The defaults are TOML files: those of the machinery and the service's own. A key that is in none does not exist.

use std::cell::OnceCell;
use std::fmt::{self, Display, Write};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

pub(super) const PREFIX: &str = "APP__";

pub(super) const DEFAULT: &str = "default";

#[derive(Default)]
pub(crate) struct Table {
    /// Section by section, each in the order in which the files name it first.
    pub(crate) settings: Vec<Setting>,
    pub(super) problems: Vec<String>,
    /// The key of the value that serde did not accept.
    pub(super) refused: OnceCell<String>,
}

pub(crate) struct Setting {
    /// `section.name`
    pub(crate) key: String,
    /// The comment above its default, as it is written.
    pub(crate) comment: String,
    pub(super) default: Value,
    pub(super) value: Value,
    /// What set the value: `default`, a file and line, a variable, or `--set`.
    pub(super) source: String,
    /// Empty until it is read. Of a secret, it has the text that is printed in its place.
    pub(super) read: OnceCell<Option<String>>,
}

impl Setting {
    pub(super) fn set(&mut self, value: Value, source: &str) {
        self.value = value;
        source.clone_into(&mut self.source);
        self.read = OnceCell::new();
    }

    /// The setting for an operator; `None` until it is read, since it may be a secret.
    pub(super) fn entry(&self) -> Option<Entry> {
        static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let plain = self.value.to_string();
        let value = match self.read.get()? {
            // An empty secret is shown as empty.
            Some(shown) if plain != "\"\"" && plain != "[]" => {
                Value::from(shown.as_str()).to_string()
            }
            _ => plain.clone(),
        };
        Some(Entry {
            key: self.key.clone(),
            // A URL without a password, for example, is not redacted.
            is_redacted: value != plain,
            value,
            source: self.source.clone(),
            fingerprint: SEED.hash_one(plain),
        })
    }
}

impl Table {
    /// Parses files of defaults. A later file may change the default and the comment of a key.
    pub(crate) fn new<T: AsRef<str>>(texts: &[T]) -> Self {
        let mut table = Self::default();
        for text in texts {
            table.add_defaults(text.as_ref());
        }
        table
    }

    fn add_defaults(&mut self, text: &str) {
        let parsed = DeTable::parse(text)
            .unwrap_or_else(|error| panic!("a file of defaults is not valid TOML: {error}"));
        let mut leaves = leaves(parsed.get_ref(), "");
        leaves.sort_by_key(|(_, _, at)| *at);
        for (key, default, at) in leaves {
            let comment = comment_above(text, at).to_owned();
            if let Some(known) = self.get_mut(&key) {
                known.set(default.clone(), DEFAULT);
                known.default = default;
                if !comment.is_empty() {
                    known.comment = comment;
                }
                continue;
            }
            let is_beside = |other: &Setting| split(&other.key).0 == split(&key).0;
            let last = self.settings.iter().rposition(is_beside);
            let index = last.map_or(self.settings.len(), |last| last + 1);
            let setting = Setting {
                key,
                comment,
                value: default.clone(),
                default,
                source: DEFAULT.to_owned(),
                read: OnceCell::new(),
            };
            self.settings.insert(index, setting);
        }
    }

    /// All defaults as one TOML file: `config default`.
    pub(crate) fn to_toml(&self) -> String {
        let (mut text, mut section) = (String::new(), "");
        for known in &self.settings {
            let name = write_head(&mut text, &mut section, &known.key);
            _ = writeln!(text, "{}{name} = {}", known.comment, known.default);
        }
        text
    }

    /// Every variable with its meaning and its default, as an environment file: `config env`.
    pub(crate) fn to_environment(&self) -> String {
        let mut text = String::from(
            "# Every setting, as the variable that sets it. With _FILE behind its name, a variable\n\
             # names a file that holds the value.\n",
        );
        for known in &self.settings {
            let (name, value) = (variable(&known.key), in_variable(&known.default));
            _ = writeln!(text, "\n{}{name}={value}", known.comment);
        }
        text
    }

    /// Reports what is wrong with a file, a variable or a key, or with several keys, one a line.
    pub(super) fn add_problem(&mut self, subject: impl Display, words: impl Display) {
        let subject = subject.to_string().replace('\n', "\n  ");
        self.problems.push(format!("\n  {subject}\n    {words}\n"));
    }

    pub(super) fn add_problem_of(&mut self, key: &str, source: &str, words: impl Display) {
        self.add_problem(format_args!("{key}  (set by {source})"), words);
    }

    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Setting> {
        self.settings.iter_mut().find(|setting| setting.key == key)
    }

    pub(super) fn has_section(&self, name: &str) -> bool {
        self.settings
            .iter()
            .any(|setting| split(&setting.key).0 == name)
    }

    /// The section of a struct at this key: a struct whose name is no section has keys of the section around it.
    pub(super) fn section<'a>(&self, key: &'a str) -> &'a str {
        if self.has_section(key) {
            key
        } else {
            split(key).0
        }
    }

    /// The key or the section of a field of the struct at `parent`. A field with a dot in its name is a key.
    pub(super) fn resolve(&self, parent: &str, field: &str) -> String {
        let section = self.section(parent);
        let field = field.replace("[section]", section);
        if section.is_empty() || field.contains('.') {
            return field;
        }
        format!("{section}.{field}")
    }
}

/// One setting in force, with its value and its source as text.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) source: String,
    /// Whether `value` hides a secret.
    #[serde(skip)]
    pub(super) is_redacted: bool,
    /// A hash of the value with a random seed of this process. It reveals no secret.
    #[serde(skip)]
    fingerprint: u64,
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  (set by {})", self.key, self.value, self.source)
    }
}

/// The keys whose values differ, between two loads of the same settings.
pub(crate) fn changed<'a>(before: &[Entry], now: &'a [Entry]) -> Vec<&'a str> {
    let pairs = before.iter().zip(now);
    let changed = pairs.filter(|(before, now)| before.fingerprint != now.fingerprint);
    changed.map(|(_, now)| now.key.as_str()).collect()
}

/// `config print`: the values in force as TOML, each with its source. Secrets are redacted.
pub(crate) fn print(entries: &[Entry]) -> String {
    let (mut text, mut section) = (String::new(), "");
    for entry in entries {
        let name = write_head(&mut text, &mut section, &entry.key);
        let line = format!("{name} = {}", entry.value);
        _ = writeln!(text, "{line:40}  # {}", entry.source);
    }
    text
}

/// Writes the head of a section before its first key. Returns the name of the key in its section.
fn write_head<'a>(text: &mut String, last: &mut &'a str, key: &'a str) -> &'a str {
    let (section, name) = split(key);
    if section != *last {
        let gap = if text.is_empty() { "" } else { "\n" };
        _ = writeln!(text, "{gap}[{section}]");
        *last = section;
    }
    name
}

/// The section of a key, and its name there.
fn split(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or(("", key))
}

pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

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
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => {
                found.extend(leaves(inner, &format!("{key}.")));
            }
            _ => {
                let value = Value::deserialize(ValueDeserializer::from(value.clone()));
                // A whole number that exceeds 64 bits fits no setting.
                let value = value.unwrap_or(Value::Float(f64::INFINITY));
                found.push((key, value, name.span().start));
            }
        }
    }
    found
}

fn comment_above(text: &str, at: usize) -> &str {
    let above = &text[..text[..at].rfind('\n').map_or(0, |end| end + 1)];
    let lines = above.split_inclusive('\n').rev();
    let comment = lines.take_while(|line| line.starts_with('#'));
    let length: usize = comment.map(str::len).sum();
    &above[above.len() - length..]
}
