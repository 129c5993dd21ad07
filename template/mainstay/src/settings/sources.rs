//! The layers above the defaults: files, environment, command line.
//!
//! Each value has its source: `prod.toml:12`, the name of the variable, or `--set`.

#![expect(
    clippy::disallowed_methods,
    reason = "settings are read at the start and on SIGHUP, from small files"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use toml::Value;
use toml::de::DeTable;

use super::reference::{PREFIX, leaves, variable};
use super::table::Table;

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
    pub(super) fn apply(&self, table: &mut Table<'_>) {
        for path in &self.files {
            table.add_file(path);
        }
        table.add_environment(&self.environment);
        table.add_flags(&self.set);
    }
}

impl Table<'_> {
    fn add_file(&mut self, path: &PathBuf) {
        let name = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let words = format!("cannot be read: {error}");
                return self.problems.add_source(name, words);
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            // The message alone: `Display` adds a snippet, which could show a secret.
            let line = line_of(&text, error.span().map_or(0, |span| span.start));
            let words = format!("is not valid TOML: {}", error.message().trim());
            self.problems.add_source(format!("{name}:{line}"), words);
        }
        if !errors.is_empty() {
            return;
        }
        for (key, value, at) in leaves(table.get_ref(), "") {
            let origin = format!("{name}:{}", line_of(&text, at));
            match self.reference.get(&key) {
                Some(_) => self.set(&key, value, &origin),
                // An empty section is fine: all its keys may be commented out.
                None if value.is_table() && self.reference.has_section(&key) => {}
                None => self.add_unknown(&key, &origin, str::to_owned),
            }
        }
    }

    fn add_environment(&mut self, variables: &[(OsString, OsString)]) {
        let mut variables: BTreeMap<_, _> = variables
            .iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| name.to_uppercase().starts_with("APP_") && name != FILES_VARIABLE)
            .collect();
        for known in &self.reference.keys {
            let (key, default) = (&known.key, &known.default);
            let name = variable(key);
            let file = format!("{name}_FILE");
            match (variables.remove(&name), variables.remove(&file)) {
                (None, None) => {}
                (Some(value), None) => match value.to_str() {
                    Some(value) => self.set(key, typed(value, default), &name),
                    None => self.problems.add_source(name, "is not valid UTF-8"),
                },
                (None, Some(path)) => self.set_from_file(key, default, &file, path),
                (Some(_), Some(_)) => {
                    let words = format!("is set by {name} as well; keep one of the two");
                    self.problems.add_key(key, &file, words);
                }
            }
        }
        for name in variables.keys() {
            self.add_unknown_variable(name);
        }
    }

    fn set_from_file(&mut self, key: &str, default: &Value, name: &str, path: &OsString) {
        let path = path.to_string_lossy();
        let origin = format!("{name} ({path})");
        match fs::read_to_string(&*path) {
            Ok(text) => {
                let line = text.strip_suffix("\r\n").or(text.strip_suffix('\n'));
                let text = line.unwrap_or(&text);
                if text.is_empty() {
                    // Most likely a secret that was not mounted.
                    let words = "is empty: the file has no value";
                    self.problems.add_key(key, &origin, words);
                }
                self.set(key, typed(text, default), &origin);
            }
            Err(error) => {
                // Do not show a value without a slash: it may be the secret, in the wrong variable.
                let named = if path.contains('/') { &origin } else { name };
                let words = format!("names a file that cannot be read: {error}");
                self.problems.add_source(named, words);
            }
        }
    }

    fn add_flags(&mut self, set: &[String]) {
        for pair in set {
            let Some((key, value)) = pair.split_once('=') else {
                // The text is not shown: it may contain a secret.
                let words = "expected `--set key=value`, found no `=`";
                self.problems.add_source("--set", words);
                continue;
            };
            match self.reference.get(key) {
                Some(known) => self.set(key, typed(value, &known.default), "--set"),
                None => self.add_unknown(key, "--set", str::to_owned),
            }
        }
    }

    /// Reports an unknown key. `spell` writes a key in the notation of this layer.
    fn add_unknown(&mut self, key: &str, origin: &str, spell: fn(&str) -> String) {
        let words = if self.reference.has_section(key) {
            "is a section: its settings have names of their own".to_owned()
        } else if let Some(near) = self.reference.nearest(key) {
            format!("is not a setting; did you mean `{}`?", spell(near))
        } else {
            "is not a setting; `config env` lists all there are".to_owned()
        };
        self.problems.add_key(key, origin, words);
    }

    /// Reports a variable that is unknown, or differs from a known one by its case or its underscores. Others that
    /// begin with `APP_` belong to other programs.
    fn add_unknown_variable(&mut self, name: &str) {
        let fold = |name: &str| name.to_uppercase().replace('_', "");
        let names = self.reference.keys().map(variable);
        let mut names = names.flat_map(|name| [format!("{name}_FILE"), name]);
        if let Some(known) = names.find(|known| fold(known) == fold(name)) {
            let words = format!("is not read; did you mean `{known}`?");
            self.problems.add_source(name, words);
        } else if let Some(path) = name.strip_prefix(PREFIX) {
            let key = path.to_lowercase().replace("__", ".");
            self.add_unknown(&key, name, variable);
        }
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
