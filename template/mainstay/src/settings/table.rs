//! The merged settings: each key with its value, and what set it; and the problems with them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use toml::Value;

use super::Reference;
use super::report::{Entry, Problems};

const DEFAULT: &str = "default";

#[derive(Clone)]
pub(super) struct Table<'a> {
    pub(super) reference: &'a Reference,
    /// Each key of the reference.
    pub(super) settings: BTreeMap<String, Setting>,
    pub(super) problems: Problems,
    /// The key or the section that the program did not accept.
    pub(super) refused: OnceCell<String>,
}

#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    source: String,
    /// Empty until it is read. Of a secret, it has the text that is printed in its place.
    pub(super) read: OnceCell<Option<String>>,
}

impl<'a> Table<'a> {
    /// All settings at their defaults.
    pub(super) fn new(reference: &'a Reference) -> Self {
        let mut table = Self {
            reference,
            settings: BTreeMap::new(),
            problems: Problems::default(),
            refused: OnceCell::new(),
        };
        for known in &reference.keys {
            table.set(&known.key, known.default.clone(), DEFAULT);
        }
        table
    }

    /// Sets a key. The value of a lower layer is lost.
    pub(super) fn set(&mut self, key: &str, value: Value, source: &str) {
        let setting = Setting {
            value,
            source: source.to_owned(),
            read: OnceCell::new(),
        };
        self.settings.insert(key.to_owned(), setting);
    }

    /// A setting that was read, redacted. An empty secret is shown as empty.
    pub(super) fn entry(&self, key: &str) -> Option<Entry> {
        static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let setting = self.settings.get(key)?;
        let plain = setting.value.to_string();
        let value = match setting.read.get()? {
            Some(shown) if plain != "\"\"" && plain != "[]" => {
                Value::from(shown.as_str()).to_string()
            }
            _ => plain.clone(),
        };
        Some(Entry {
            key: key.to_owned(),
            // A URL without a password, for example, is not redacted.
            is_redacted: value != plain,
            value,
            source: setting.source.clone(),
            fingerprint: SEED.hash_one(plain),
        })
    }

    /// Puts the default in the place of a refused value. Returns the setting as it was.
    pub(super) fn reset(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entry(key)?;
        assert!(
            entry.source != DEFAULT,
            "the default of the setting `{key}` is not valid"
        );
        let default = self.reference.get(key)?.default.clone();
        self.set(key, default, DEFAULT);
        Some(entry)
    }
}
