//! The settings as text: the values in force, and every variable.

use std::fmt::Write;

use super::reference::{push_comment, split};
use super::sources::variable;
use super::value::toml_of;
use super::{Entry, Reference};

/// `config print`: the values in force as TOML, each with its source. Secrets are redacted.
#[must_use]
pub(crate) fn print(entries: &[Entry]) -> String {
    let line = |entry: &Entry| format!("{} = {}", split(&entry.key).1, entry.value);
    let lengths = entries.iter().map(|entry| line(entry).chars().count());
    let width = lengths.max().unwrap_or(0);
    let mut text = String::new();
    let mut current = "";
    for entry in entries {
        let (section, _) = split(&entry.key);
        if section != current {
            let gap = if current.is_empty() { "" } else { "\n" };
            _ = writeln!(text, "{gap}[{section}]");
            current = section;
        }
        _ = writeln!(text, "{:width$}  # {}", line(entry), entry.source);
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
        let (section, _) = split(&described.key);
        if section != current {
            _ = writeln!(text, "\n# [{section}]");
            current = section;
        }
        text.push('\n');
        push_comment(&mut text, &described.meaning);
        let value = in_variable(toml_of(&described.default));
        _ = writeln!(text, "{}={value}", variable(&described.key));
    }
    text
}

/// A value as it is written in a variable.
fn in_variable(value: toml::Value) -> String {
    match value {
        toml::Value::Array(items) => {
            let items: Vec<_> = items.into_iter().map(in_variable).collect();
            items.join(",")
        }
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}
