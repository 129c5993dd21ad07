//! What an operator sees of the settings: the values in force, and the report of all problems.

use std::fmt::{self, Display, Write};

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
    pub(super) fingerprint: u64,
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  (set by {})", self.key, self.value, self.source)
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
    let (mut text, mut section) = (String::new(), "");
    for entry in entries {
        let name = write_head(&mut text, &mut section, &entry.key);
        let line = format!("{name} = {}", entry.value);
        _ = writeln!(text, "{line:40}  # {}", entry.source);
    }
    text
}

/// Writes the head of a section before its first key. Returns the name of the key in its section.
pub(super) fn write_head<'a>(text: &mut String, last: &mut &'a str, key: &'a str) -> &'a str {
    let (section, name) = split(key);
    if section != *last {
        let gap = if text.is_empty() { "" } else { "\n" };
        _ = writeln!(text, "{gap}[{section}]");
        *last = section;
    }
    name
}

/// The section and the name of a key.
pub(super) fn split(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or(("", key))
}

/// All problems: the subject of each, which is a key, a file, a variable, or several keys, one a line; and what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<(String, String)>);

impl Problems {
    pub(super) fn add(&mut self, subject: impl Display, words: impl Into<String>) {
        self.0.push((subject.to_string(), words.into()));
    }

    /// A key, without its value.
    pub(super) fn add_key(&mut self, key: &str, source: &str, words: impl Into<String>) {
        self.add(format_args!("{key}  (set by {source})"), words);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        writeln!(f, "{count} problem{plural} with the settings")?;
        for (subject, words) in &self.0 {
            writeln!(f, "\n  {}\n    {words}", subject.replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
