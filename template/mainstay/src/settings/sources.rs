//! The layers above the defaults: files, environment, command line.
//!
//! Each value has its source: `prod.toml:12`, the name of the variable, or `--set`.

#![expect(
    clippy::disallowed_methods,
    reason = "settings are read at the start and on SIGHUP, from small files"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::DeTable;

use super::table::{PREFIX, Table, leaves, variable};

/// The variable that names the files if there is no `--config`, separated as in `PATH`.
const FILES_VARIABLE: &str = "APP_CONFIG";

/// The sources of the settings. The files have not been read yet.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The files of `--config` or `APP_CONFIG`. A later file overrides an earlier one.
    pub(crate) files: Vec<PathBuf>,
    /// The environment of the process.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Each `key=value` of `--set`. A later one overrides an earlier one.
    pub(crate) set: Vec<String>,
}

impl Sources {
    /// Combines the options of the command line with the environment of this process.
    #[must_use]
    pub(crate) fn of_process(files: &[PathBuf], set: &[String]) -> Self {
        let files = match std::env::var_os(FILES_VARIABLE) {
            Some(named) if files.is_empty() => std::env::split_paths(&named)
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
            _ => files.to_vec(),
        };
        Self {
            files,
            environment: std::env::vars_os().collect(),
            set: set.to_vec(),
        }
    }

    /// Sets what the layers set, lowest first.
    pub(super) fn apply(&self, table: &mut Table) {
        for path in &self.files {
            table.add_file(path);
        }
        let variables = self.environment.iter();
        let variables = variables.map(|(name, value)| (name.to_string_lossy(), value));
        // Sorted, so that a variable comes before the same one with `_FILE`.
        for (name, value) in variables.collect::<BTreeMap<_, _>>() {
            if name.to_uppercase().starts_with("APP_") && name != FILES_VARIABLE {
                table.add_variable(&name, value);
            }
        }
        for pair in &self.set {
            match pair.split_once('=') {
                Some((key, value)) => table.set(key, "--set", |default| typed(value, default)),
                // The text is not shown: it may contain a secret.
                None => table
                    .problems
                    .add("--set", "expected `--set key=value`, found no `=`"),
            }
        }
    }
}

impl Table {
    fn add_file(&mut self, path: &Path) {
        let name = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.problems.add(name, format!("cannot be read: {error}")),
        };
        let (parsed, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            // The message alone: `Display` adds a snippet, which could show a secret.
            let line = line_of(&text, error.span().map_or(0, |span| span.start));
            let words = format!("is not valid TOML: {}", error.message().trim());
            self.problems.add(format_args!("{name}:{line}"), words);
        }
        if !errors.is_empty() {
            return;
        }
        for (key, value, at) in leaves(parsed.get_ref(), "") {
            // An empty section is fine: all its keys may be commented out.
            if !(value.is_table() && self.has_section(&key)) {
                let source = format!("{name}:{}", line_of(&text, at));
                self.set(&key, &source, |_| value);
            }
        }
    }

    fn add_variable(&mut self, name: &str, value: &OsStr) {
        let mut variables = self.settings.iter().map(|it| (it, variable(&it.key)));
        let ours = |(_, ours): &(_, String)| {
            matches!(name.strip_prefix(ours.as_str()), Some("" | "_FILE"))
        };
        let Some((setting, variable)) = variables.find(ours) else {
            return self.add_unknown_variable(name);
        };
        let key = setting.key.clone();
        if variable == name {
            return match value.to_str() {
                Some(text) => self.set(&key, name, |default| typed(text, default)),
                None => self.problems.add(name, "is not valid UTF-8"),
            };
        }
        if setting.source == variable {
            let words = format!("is set by {variable} as well; keep one of the two");
            return self.problems.add_key(&key, name, words);
        }
        let text = match fs::read_to_string(value) {
            Ok(text) => text,
            // The value is not shown: it may be the secret, in the wrong variable.
            Err(error) => {
                let words = format!("names a file that cannot be read: {error}");
                return self.problems.add(name, words);
            }
        };
        let source = format!("{name} ({})", value.display());
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            // Most likely a secret that was not mounted.
            self.problems
                .add_key(&key, &source, "is empty: the file has no value");
        }
        self.set(&key, &source, |default| typed(text, default));
    }

    /// Sets a key to a value, given its default; or reports that there is no such key. The value of a lower layer is lost.
    fn set(&mut self, key: &str, source: &str, value: impl FnOnce(&Value) -> Value) {
        if let Some(setting) = self.get_mut(key) {
            return setting.set(value(&setting.default), source);
        }
        let keys = self.settings.iter().map(|setting| setting.key.clone());
        let near = nearest(keys, key).map(|(_, near)| near);
        self.problems.add_key(key, source, unknown(near));
    }

    /// Reports a variable that sets nothing. Without the prefix, it belongs to another program, unless it differs from
    /// a variable of ours by no more than two characters, such as underscores.
    fn add_unknown_variable(&mut self, name: &str) {
        let names = self.settings.iter().map(|setting| variable(&setting.key));
        let names = names.flat_map(|name| [format!("{name}_FILE"), name]);
        let near = nearest(names, &name.to_uppercase());
        let is_near = near.as_ref().is_some_and(|(distance, _)| *distance <= 2);
        if is_near || name.starts_with(PREFIX) {
            self.problems.add(name, unknown(near.map(|(_, near)| near)));
        }
    }
}

/// The name that a mistyped one most likely meant, and how many characters differ.
fn nearest(names: impl Iterator<Item = String>, mistyped: &str) -> Option<(usize, String)> {
    let names = names.map(|name| (strsim::damerau_levenshtein(&name, mistyped), name));
    names
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 4))
        .min()
}

fn unknown(near: Option<String>) -> String {
    match near {
        Some(near) => format!("is not a setting; did you mean `{near}`?"),
        None => "is not a setting; `config env` lists all there are".to_owned(),
    }
}

/// Converts text from the environment or the command line to the type of the default. Numbers and flags are written as
/// in TOML, so `0123` and `yes` are neither. They stay text, which is later reported as the wrong type.
fn typed(text: &str, default: &Value) -> Value {
    if let Value::Array(defaults) = default {
        // Items have the type of the first default. Without one, they are text.
        let default = defaults.first().cloned().unwrap_or_else(|| "".into());
        let items = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        return Value::Array(items.map(|item| typed(item, &default)).collect());
    }
    let parsed = text.parse::<Value>().ok();
    let parsed = parsed.filter(|it| it.is_bool() || it.is_integer() || it.is_float());
    let typed = parsed.filter(|_| !default.is_str());
    typed.unwrap_or_else(|| text.into())
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
