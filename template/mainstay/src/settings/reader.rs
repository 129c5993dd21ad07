//! Loads the settings, and collects every problem.
//!
//! serde stops at the first error. So a refused value is recorded, its default is put in its place, and the settings are
//! deserialized again, until they fit. Then garde checks the rules. If there is any problem, the result is discarded.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use config::{Map, Value, ValueKind};

use super::deserializer::{Error, Table};
use super::report::{Problems, Subject};
use super::sources::variable;
use super::value::{REDACTED, toml_of};
use super::{Entry, Loaded, Reference, Section};

/// Deserializes the settings until they fit, and checks their rules.
pub(super) fn read<S: Section>(
    reference: &Reference,
    values: Map<String, Value>,
    mut problems: Problems,
) -> Result<Loaded<S>, Problems> {
    let mut table = Table::new(reference, values);
    let mut refused = Vec::new();
    let settings = loop {
        match S::deserialize(table.root()) {
            Ok(settings) => break Some(settings),
            // A section as a whole has no default.
            Err(error) if reference.get(&error.key).is_none() => {
                problems.add_source(error.key, error.words);
                break None;
            }
            Err(error) => refused.push(replace_by_default(&mut table, error)),
        }
    };
    for (subject, error) in refused {
        let words = match error.limits {
            Some(_) => range::<S>(&table, &subject.name),
            None => error.words,
        };
        problems.add(vec![subject], words);
    }
    let broken = settings.as_ref().and_then(|it| it.validate().err());
    let mut broken: Vec<_> = broken.iter().flat_map(garde::Report::iter).collect();
    // Rules of a single value first: the others skip a value that is wrong by itself.
    broken.sort_by_key(|(_, error)| error.message().find('\n') > Some(0));
    for (path, error) in broken {
        add_broken_rule::<S>(&table, path, error, &mut problems);
    }
    let entries = entries(&table, &mut problems);
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, entries }),
        _ => Err(problems),
    }
}

/// Removes a value that was refused. Returns it with the reason.
fn replace_by_default(table: &mut Table<'_>, error: Error) -> (Subject, Error) {
    let key = &error.key;
    let may_have_secret = |text: &String| text.contains("://") && text.contains(['@', '?']);
    let subject = subject(table, key);
    let value = match subject.value {
        _ if table.shown(key).is_some() => None,
        // A refused URL may belong to another setting.
        Some(value) if may_have_secret(&value) => Some(format!("{REDACTED:?}")),
        value => value,
    };
    let removed = table.values.remove(key);
    assert!(
        removed.is_some(),
        "the default of the setting `{key}` is not valid: {error}"
    );
    (Subject { value, ..subject }, error)
}

fn add_broken_rule<S: Section>(
    table: &Table<'_>,
    path: &garde::Path,
    error: &garde::Error,
    problems: &mut Problems,
) {
    let place = key_of(table, path);
    // See `rule`.
    let (names, words) = match error.message().split_once('\n') {
        Some((names, words)) => (names, words.to_owned()),
        None if bound(error).is_some() => ("", range::<S>(table, &place)),
        None => ("", error.message().to_owned()),
    };
    let names = names.split_whitespace();
    let mut keys: Vec<_> = names.map(|name| table.resolve(&place, name)).collect();
    if keys.is_empty() {
        keys.push(place);
    }
    // If one of the values was refused, its default was checked in its place.
    if !keys.iter().any(|key| problems.concern(key)) {
        let subjects = keys.iter().map(|key| subject(table, key)).collect();
        problems.add(subjects, words);
    }
}

/// The key or the section that a rule is about.
fn key_of(table: &Table<'_>, path: &garde::Path) -> String {
    let fields = path.__iter().rev();
    fields.fold(String::new(), |section, (_, field)| {
        // A struct that is not a section is a part of one.
        table.reference.resolve(&section, field).unwrap_or(section)
    })
}

/// What is expected of a whole number. The limits of its type and of its rule are found by exceeding them.
fn range<S: Section>(table: &Table<'_>, key: &str) -> String {
    let exceeded = |number: i64| -> Result<Option<String>, Error> {
        let mut values = table.values.clone();
        values.insert(key.to_owned(), Value::new(None, number));
        let settings = S::deserialize(Table::new(table.reference, values).root())?;
        let report = settings.validate().err().unwrap_or_else(garde::Report::new);
        let mut errors = report.iter().filter(|(path, _)| key_of(table, path) == key);
        Ok(errors.find_map(|(_, error)| bound(error).map(str::to_owned)))
    };
    let limits = exceeded(i64::MIN).err().and_then(|error| error.limits);
    let [least, most] = limits.unwrap_or([i64::MIN, i64::MAX]);
    let of_rule = |number: i64| exceeded(number).ok().flatten();
    let of_type = (most < i64::MAX).then(|| most.to_string());
    let least = of_rule(least).unwrap_or_else(|| least.to_string());
    match of_rule(most).or(of_type) {
        Some(most) => format!("expected a whole number from {least} to {most}"),
        None => format!("expected a whole number, {least} or more"),
    }
}

/// The bound that a number has exceeded, by a `range` of garde.
fn bound(error: &garde::Error) -> Option<&str> {
    let message = error.message();
    let below = message.strip_prefix("lower than ");
    below.or_else(|| message.strip_prefix("greater than "))
}

/// A setting with its redacted value and its source; or a section.
fn subject(table: &Table<'_>, key: &str) -> Subject {
    let value = table.value(key);
    Subject {
        value: value.map(|(kind, _)| redacted(table, key, kind)),
        ..Subject::new(key, value.map(|(_, source)| source))
    }
}

/// The value as TOML. An empty secret is shown as empty.
fn redacted(table: &Table<'_>, key: &str, kind: &ValueKind) -> String {
    let is_empty = match kind {
        ValueKind::String(text) => text.is_empty(),
        ValueKind::Array(items) => items.is_empty(),
        _ => false,
    };
    match table.shown(key) {
        Some(shown) if !is_empty => toml::Value::from(shown).to_string(),
        _ => toml_of(kind).to_string(),
    }
}

/// The settings that were read, section by section. Reports secrets on the command line, where others can read them.
fn entries(table: &Table<'_>, problems: &mut Problems) -> Vec<Entry> {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let keys = table.reference.keys().filter(|key| table.is_read(key));
    let entries = keys.filter_map(|key| {
        let (kind, source) = table.value(key)?;
        let plain = toml_of(kind).to_string();
        let value = redacted(table, key, kind);
        // A URL without a password, for example, is not redacted.
        if source == "--set" && value != plain {
            let variable = variable(key);
            let words = format!(
                "is a secret, which `--set` would show to everybody; set {variable}_FILE instead"
            );
            problems.add_key(key, source, words);
        }
        Some(Entry {
            key: key.to_owned(),
            value,
            source: source.to_owned(),
            fingerprint: SEED.hash_one(plain),
        })
    });
    entries.collect()
}
