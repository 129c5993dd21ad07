//! The settings for people: what is in force and why, and every variable there is.

use std::fmt::Write;

use super::sources::variable;
use super::value::toml_of;
use super::{Entry, Reference};

/// `config print`: the values in force as TOML, each with its source. Secrets are redacted.
#[must_use]
pub(crate) fn print(entries: &[Entry]) -> String {
    let lines: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (section, name) = entry.key.rsplit_once('.').unwrap_or(("", &entry.key));
            (section, format!("{name} = {}", entry.value), &entry.source)
        })
        .collect();
    let width = lines
        .iter()
        .map(|(_, line, _)| line.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let mut current = "";
    for (section, line, source) in lines {
        if section != current {
            let gap = if current.is_empty() { "" } else { "\n" };
            _ = writeln!(text, "{gap}[{section}]");
            current = section;
        }
        _ = writeln!(text, "{line:width$}  # {source}");
    }
    text
}

/// `config env`: every variable with its meaning and its default, as an environment file.
#[must_use]
pub(crate) fn environment_file(reference: &Reference) -> String {
    let mut text = String::from(
        "# Every setting, as the variable that sets it. With _FILE behind its name, a variable\n\
         # names a file that holds the value.\n",
    );
    let mut current = "";
    for described in reference.described() {
        let section = described
            .key
            .rsplit_once('.')
            .map_or("", |(section, _)| section);
        if section != current {
            _ = writeln!(text, "\n# [{section}]");
            current = section;
        }
        _ = writeln!(text);
        for line in &described.meaning {
            _ = writeln!(text, "# {line}");
        }
        let value = plain(toml_of(&described.default));
        _ = writeln!(text, "{}={value}", variable(&described.key));
    }
    text
}

/// A value as it is written in a variable.
fn plain(value: toml::Value) -> String {
    match value {
        toml::Value::Array(items) => items.into_iter().map(plain).collect::<Vec<_>>().join(","),
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}
