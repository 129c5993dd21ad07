//! The layers above the defaults: files, environment, command line.
//!
//! Each value has its source: `prod.toml:12`, the name of the variable, or `--set`.

#![expect(
    clippy::disallowed_methods,
    reason = "settings are read at the start and on SIGHUP, from small files"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use toml::Value;
use toml::de::DeTable;

use super::table::{PREFIX, Setting, Table, leaves, variable};

/// The variable that names the files if there is no `--config`, separated as in `PATH`.
const FILES_VARIABLE: &str = "APP_CONFIG";

// The options of every command, and the environment. Not a doc comment, which would become the description of each command.
#[derive(Default, clap::Args)]
pub(crate) struct Sources {
    /// Read settings from this TOML file; a later file wins over an earlier one
    #[arg(long = "config", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Set one setting, over everything else; not for secrets
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[arg(skip)]
    pub(crate) environment: BTreeMap<String, String>,
}

impl Sources {
    pub(super) fn apply(&self, table: &mut Table) {
        let files = match self.environment.get(FILES_VARIABLE) {
            Some(named) if self.files.is_empty() => env::split_paths(named)
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
            _ => self.files.clone(),
        };
        for path in &files {
            table.add_file(path);
        }
        // They are sorted: a variable with `_FILE` wins over the same one without.
        for (name, value) in &self.environment {
            if name.to_uppercase().starts_with("APP_") && name != FILES_VARIABLE {
                table.add_variable(name, value);
            }
        }
        for pair in &self.set {
            match pair.split_once('=') {
                Some((key, value)) => table.set(key, "--set", |default| typed(value, default)),
                // The text is not shown: it may contain a secret.
                None => table.add_problem("--set", "expected `--set key=value`, found no `=`"),
            }
        }
    }
}

impl Table {
    fn add_file(&mut self, path: &Path) {
        let name = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.add_problem(name, format!("cannot be read: {error}")),
        };
        let (parsed, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            // The message alone: `Display` adds a snippet, which could show a secret.
            let line = line_of(&text, error.span().map_or(0, |span| span.start));
            let words = format!("is not valid TOML: {}", error.message().trim());
            self.add_problem(format_args!("{name}:{line}"), words);
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

    fn add_variable(&mut self, name: &str, value: &str) {
        let of_name = |setting: &&Setting| {
            let rest = name.strip_prefix(&variable(&setting.key));
            matches!(rest, Some("" | "_FILE"))
        };
        let Some(setting) = self.settings.iter().find(of_name) else {
            return self.add_unknown_variable(name);
        };
        let key = setting.key.clone();
        if variable(&key) == name {
            return self.set(&key, name, |default| typed(value, default));
        }
        let text = match fs::read_to_string(value) {
            Ok(text) => text,
            Err(error) => {
                // Any other value is not shown: it may be the secret, in the wrong variable.
                let path = Some(value).filter(|value| value.starts_with('/'));
                let path = path.map(|path| format!(" ({path})")).unwrap_or_default();
                let words = format!("names a file that cannot be read: {error}");
                return self.add_problem(format_args!("{name}{path}"), words);
            }
        };
        let source = format!("{name} ({value})");
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            // Most likely a secret that was not mounted.
            self.add_problem_of(&key, &source, "is empty: the file has no value");
        }
        self.set(&key, &source, |default| typed(text, default));
    }

    /// Sets a key to a value, given its default; or reports that there is no such key.
    fn set(&mut self, key: &str, source: &str, value: impl FnOnce(&Value) -> Value) {
        if let Some(setting) = self.get_mut(key) {
            return setting.set(value(&setting.default), source);
        }
        let keys = self.settings.iter().map(|setting| setting.key.clone());
        let near = nearest(keys, key).map(|(_, near)| near);
        self.add_problem_of(key, source, unknown(near));
    }

    /// Reports a variable that sets nothing. Without the prefix, it belongs to another program, unless it differs from
    /// a variable of ours by no more than two characters, such as underscores.
    fn add_unknown_variable(&mut self, name: &str) {
        let names = self.settings.iter().map(|setting| variable(&setting.key));
        let names = names.flat_map(|name| [format!("{name}_FILE"), name]);
        let near = nearest(names, &name.to_uppercase());
        let is_near = near.as_ref().is_some_and(|(distance, _)| *distance <= 2);
        if is_near || name.starts_with(PREFIX) {
            self.add_problem(name, unknown(near.map(|(_, near)| near)));
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
    match default {
        Value::String(_) => text.into(),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim);
            let items = items.filter(|item| !item.is_empty());
            Value::Array(items.map(Value::from).collect())
        }
        _ => {
            let parsed = text.parse::<Value>().ok();
            let parsed = parsed.filter(|it| it.is_bool() || it.is_integer() || it.is_float());
            parsed.unwrap_or_else(|| text.into())
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
