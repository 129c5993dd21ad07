//! Loads the settings, and collects every problem.
//!
//! serde stops at the first error. So a refused value is recorded, its default is put in its place, and the settings are
//! deserialized again, until they fit. Then garde checks the rules. If there is any problem, the result is discarded.

use super::deserializer::Node;
use super::reference::variable;
use super::report::Problems;
use super::table::Table;
use super::{Loaded, Section};

/// Deserializes the settings until they fit, and checks their rules.
pub(super) fn read<S: Section>(mut table: Table<'_>) -> Result<Loaded<S>, Problems> {
    let mut refused = Vec::new();
    let settings = loop {
        match S::deserialize(Node::root(&table)) {
            Ok(settings) => break settings,
            Err(error) => {
                let key = table.refused.take().unwrap_or_default();
                let Some(entry) = table.reset(&key) else {
                    // A section as a whole has no default.
                    table.problems.add_source(key, error.message());
                    return Err(table.problems);
                };
                refused.push((entry, error));
            }
        }
    };
    for (entry, error) in refused {
        let words = expected::<S>(&table, &entry.key, error.message());
        // Not printed: the URL may have credentials that belong to another setting, and a list may have secrets.
        let is_url = entry.value.contains("://") && entry.value.contains(['@', '?']);
        if entry.is_redacted || is_url || words == "expected a list" {
            table.problems.add_key(&entry.key, &entry.source, words);
        } else {
            table.problems.add(vec![entry.to_string()], words);
        }
    }
    add_broken_rules(&settings, &mut table);
    let keys = table.reference.keys();
    let entries: Vec<_> = keys.filter_map(|key| table.entry(key)).collect();
    for entry in &entries {
        if entry.is_redacted && entry.source == "--set" {
            let variable = variable(&entry.key);
            let words = format!(
                "is a secret, and `--set` shows it in the list of processes; set {variable}_FILE instead"
            );
            table.problems.add_key(&entry.key, &entry.source, words);
        }
    }
    if table.problems.is_empty() {
        Ok(Loaded { settings, entries })
    } else {
        Err(table.problems)
    }
}

/// Turns an error of serde or garde into "expected …", without the rejected value.
fn expected<S: Section>(table: &Table<'_>, key: &str, error: &str) -> String {
    let words = error.rsplit_once(", expected ").map(|(_, words)| words);
    let words = words.or(error.strip_prefix("expected "));
    let expected = match words.unwrap_or(error) {
        "a boolean" => "`true` or `false`",
        "a string" => "text",
        "a sequence" => "a list",
        "f32" | "f64" => "a number",
        "socket address" | "invalid socket address syntax" => {
            "an address and a port, such as `127.0.0.1:8080` or `[::]:8080`"
        }
        "u8" | "u16" | "u32" | "u64" | "usize" => return range::<S>(table, key),
        _ if error.starts_with("lower than ") || error.starts_with("greater than ") => {
            return range::<S>(table, key);
        }
        _ => return words.map_or(error.to_owned(), |words| format!("expected {words}")),
    };
    format!("expected {expected}")
}

/// Each broken rule: the key or the section that it is about, and the error of garde.
fn broken_rules<S: Section>(settings: &S, table: &Table<'_>) -> Vec<(String, String)> {
    let report = settings.validate().err().unwrap_or_else(garde::Report::new);
    let broken = report.iter().map(|(path, error)| {
        let fields = path.__iter().rev();
        let place = fields.fold(String::new(), |section, (_, field)| {
            let key = table.reference.resolve(&section, field);
            // A struct that is not a section is a part of one.
            let is_known = table.settings.contains_key(&key) || table.reference.has_section(&key);
            if is_known { key } else { section }
        });
        (place, error.message().to_owned())
    });
    broken.collect()
}

fn add_broken_rules<S: Section>(settings: &S, table: &mut Table<'_>) {
    let mut broken = broken_rules(settings, &*table);
    // Rules of single values first, so that a rule between values skips those that are invalid already.
    broken.sort_by_key(|(_, error)| error.find('\n') > Some(0));
    for (place, error) in broken {
        // `rule` writes the keys and the words as `key key…\nwords`.
        let (names, words) = match error.split_once('\n') {
            Some((names, words)) => (names, words.to_owned()),
            None => ("", expected::<S>(table, &place, &error)),
        };
        let names = names.split_whitespace();
        let resolved = names.map(|name| table.reference.resolve(&place, name));
        let mut keys: Vec<_> = resolved.collect();
        if keys.is_empty() {
            keys.push(place);
        }
        // A key with a problem has its default by now: the rule says nothing about the user's value.
        if !keys.iter().any(|key| table.problems.concern(key)) {
            let subject = |key: String| table.entry(&key).map_or(key, |entry| entry.to_string());
            let subjects = keys.into_iter().map(subject).collect();
            table.problems.add(subjects, words);
        }
    }
}

/// Describes the range of a whole number. Finds the limits of its type and of its rule by exceeding them.
fn range<S: Section>(table: &Table<'_>, key: &str) -> String {
    let error = |number: i64| {
        let mut table = table.clone();
        table.set(key, number.into(), "");
        match S::deserialize(Node::root(&table)) {
            Ok(settings) => {
                let mut broken = broken_rules(&settings, &table).into_iter();
                let rule = broken.find(|(place, _)| place == key);
                rule.map(|(_, error)| error).unwrap_or_default()
            }
            Err(error) => error.message().to_owned(),
        }
    };
    let of_type = error(i64::MAX)
        .rsplit_once(", expected u")
        .and_then(|(_, bits)| {
            let count = 1_i64.checked_shl(bits.parse().ok()?)?;
            Some(count - 1)
        });
    let below = error(0);
    let least = below.strip_prefix("lower than ").unwrap_or("0");
    let above = error(of_type.unwrap_or(i64::MAX));
    let most = above.strip_prefix("greater than ").map(str::to_owned);
    match most.or(of_type.map(|most| most.to_string())) {
        Some(most) => format!("expected a whole number from {least} to {most}"),
        None => format!("expected a whole number, {least} or more"),
    }
}
