//! What an operator sees of the settings: the values in force, and the report of all problems.

use std::fmt::{self, Write};

use super::reference::split;

/// One setting in force, redacted.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The value in force, as TOML.
    pub(crate) value: String,
    /// What set it: `default`, a file and line, a variable, or `--set`.
    pub(crate) source: String,
    /// Whether `value` hides a secret.
    #[serde(skip)]
    pub(super) is_redacted: bool,
    /// A hash of the value with a random seed of this process. It reveals no secret.
    #[serde(skip)]
    pub(super) fingerprint: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key, value, source, ..
        } = self;
        write!(f, "{key} = {value}  (set by {source})")
    }
}

/// The keys whose values differ, between two loads of the same settings.
#[must_use]
pub(crate) fn changed<'a>(before: &[Entry], now: &'a [Entry]) -> Vec<&'a str> {
    let pairs = before.iter().zip(now);
    let changed = pairs.filter(|(before, now)| before.fingerprint != now.fingerprint);
    changed.map(|(_, now)| now.key.as_str()).collect()
}

/// `config print`: the values in force as TOML, each with its source. Secrets are redacted.
#[must_use]
pub(crate) fn print(entries: &[Entry]) -> String {
    let line = |entry: &Entry| format!("{} = {}", split(&entry.key).1, entry.value);
    let lengths = entries.iter().map(|entry| line(entry).chars().count());
    let width = lengths.max().unwrap_or(0);
    let mut text = String::new();
    for section in entries.chunk_by(|a, b| split(&a.key).0 == split(&b.key).0) {
        let gap = if text.is_empty() { "" } else { "\n" };
        _ = writeln!(text, "{gap}[{}]", split(&section[0].key).0);
        for entry in section {
            _ = writeln!(text, "{:width$}  # {}", line(entry), entry.source);
        }
    }
    text
}

/// All problems, in the order in which they were found: the subjects of each, which begin with the name of a key, a file or
/// a variable; and what is wrong, with the cure. `Display` is the report.
#[derive(Debug, Clone, Default)]
pub(crate) struct Problems(Vec<(Vec<String>, String)>);

impl Problems {
    /// A file or a variable that is wrong as a whole.
    pub(super) fn add_source(&mut self, name: impl fmt::Display, words: impl Into<String>) {
        self.add(vec![name.to_string()], words);
    }

    /// A key, without its value.
    pub(super) fn add_key(&mut self, key: &str, source: &str, words: impl Into<String>) {
        self.add(vec![format!("{key}  (set by {source})")], words);
    }

    /// One key with its value, or several that contradict each other.
    pub(super) fn add(&mut self, subjects: Vec<String>, words: impl Into<String>) {
        self.0.push((subjects, words.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this key has a problem already, so that its value means nothing.
    pub(super) fn concern(&self, key: &str) -> bool {
        let mut subjects = self.0.iter().flat_map(|(subjects, _)| subjects);
        subjects.any(|subject| subject.split(' ').next() == Some(key))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        writeln!(f, "{count} problem{plural} with the settings")?;
        for (subjects, words) in &self.0 {
            writeln!(f, "\n  {}\n    {words}", subjects.join("\n  "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
