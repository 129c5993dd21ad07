//! A deserializer of serde over the merged values, with the rules of settings.
//!
//! No value is coerced. A field has the name of its key, a struct that of its section; a struct of another name has
//! further keys of the section around it. `""` is `None` to an `Option`, and a `Duration` is text such as `10s`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use config::{Map, Value, ValueKind};
use serde::de::value::SeqDeserializer;
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};

use super::Reference;
use super::value::{Quantity, SECTION_NAME, take_shown};

/// The settings by key.
pub(super) struct Table<'a> {
    pub(super) reference: &'a Reference,
    /// The values above the defaults.
    pub(super) values: Map<String, Value>,
    /// The keys that were read; of a secret, what may be printed in its place.
    read: RefCell<BTreeMap<String, Option<String>>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(reference: &'a Reference, values: Map<String, Value>) -> Self {
        Self {
            reference,
            values,
            read: RefCell::default(),
        }
    }

    /// All settings.
    pub(super) fn root(&self) -> Node<'_> {
        Node {
            table: self,
            section: "",
            key: String::new(),
            item: None,
        }
    }

    /// The key of a field, or the name of its section. Of a part of a section, neither.
    pub(super) fn resolve(&self, section: &str, field: &str) -> String {
        let found = self.reference.resolve(section, field);
        found.unwrap_or_else(|| match section {
            "" => field.to_owned(),
            _ => format!("{section}.{field}"),
        })
    }

    /// The value in force and its source.
    pub(super) fn value(&self, key: &str) -> Option<(&ValueKind, &str)> {
        match self.values.get(key) {
            Some(value) => Some((&value.kind, value.origin().unwrap_or("default"))),
            None => Some((&self.reference.get(key)?.default, "default")),
        }
    }

    /// What may be printed in place of a secret.
    pub(super) fn shown(&self, key: &str) -> Option<String> {
        self.read.borrow().get(key).cloned().flatten()
    }

    pub(super) fn is_read(&self, key: &str) -> bool {
        self.read.borrow().contains_key(key)
    }
}

/// Why a value was refused.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct Error {
    pub(super) key: String,
    pub(super) words: String,
    /// If the type is a whole number.
    pub(super) limits: Option<[i64; 2]>,
}

impl Error {
    fn expected(expected: &str) -> Self {
        let limits = match expected {
            "u8" => Some([0, u8::MAX.into()]),
            "u16" => Some([0, u16::MAX.into()]),
            "u32" => Some([0, u32::MAX.into()]),
            "u64" | "usize" => Some([0, i64::MAX]),
            _ => None,
        };
        let expected = match expected {
            "a boolean" => "`true` or `false`",
            "a string" => "text",
            "a sequence" => "a list",
            "f32" | "f64" => "a number",
            "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
            "socket address" => "an address and a port, such as `127.0.0.1:8080` or `[::]:8080`",
            other => other,
        };
        Self {
            key: String::new(),
            words: format!("expected {expected}"),
            limits,
        }
    }
}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        match message.to_string() {
            message if message == "invalid socket address syntax" => {
                Self::expected("socket address")
            }
            words => Self {
                words,
                ..Self::expected("")
            },
        }
    }

    // The value is left out: it may be a secret.
    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(&expected.to_string())
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(&expected.to_string())
    }
}

/// The settings, a section of them, or a value.
pub(super) struct Node<'a> {
    table: &'a Table<'a>,
    /// The section that this is in.
    section: &'a str,
    /// The key of the value, or the name of the section.
    key: String,
    /// An item of the list at `key`.
    item: Option<&'a ValueKind>,
}

impl<'a> Node<'a> {
    fn kind(&self) -> &'a ValueKind {
        let value = || self.table.value(&self.key).map(|(kind, _)| kind);
        self.item.or_else(value).unwrap_or_else(|| {
            let key = &self.key;
            panic!("no reference describes the setting `{key}`, which the program reads")
        })
    }

    fn items(&self, items: impl Iterator<Item = &'a ValueKind>) -> impl Iterator<Item = Self> {
        items.map(|item| Self {
            item: Some(item),
            key: self.key.clone(),
            ..*self
        })
    }
}

impl IntoDeserializer<'_, Error> for Node<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            ValueKind::Boolean(flag) => visitor.visit_bool(*flag),
            ValueKind::I64(number) => visitor.visit_i64(*number),
            ValueKind::Float(number) => visitor.visit_f64(*number),
            ValueKind::String(text) => visitor.visit_str(text),
            ValueKind::Array(_) => self.deserialize_seq(visitor),
            _ => visitor.visit_unit(),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let ValueKind::Array(items) = self.kind() {
            let items = self.items(items.iter().map(|item| &item.kind));
            return visitor.visit_seq(SeqDeserializer::new(items));
        }
        // Whether it is a secret is up to the type of the items.
        _ = visitor.visit_seq(SeqDeserializer::new(self.items([self.kind()].into_iter())));
        Err(Error::expected("a list"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            ValueKind::String(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == SECTION_NAME {
            return visitor.visit_newtype_struct(self.section.into_deserializer());
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.kind() {
            ValueKind::String(text) if variants.contains(&text.as_str()) => {
                visitor.visit_enum(text.as_str().into_deserializer())
            }
            _ => {
                let variants = variants.iter().map(|variant| format!("`{variant}`"));
                let variants = variants.collect::<Vec<_>>().join(", ");
                let expected = match variants.rsplit_once(", ") {
                    Some((others, last)) => format!("{others} or {last}"),
                    None => variants,
                };
                Err(Error::expected(&expected))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == "Duration" && fields == ["secs", "nanos"] {
            let duration = match self.kind() {
                ValueKind::String(text) => Duration::parse(text),
                _ => None,
            };
            let expected = "a duration up to a year, such as `10s`, `500ms` or `1m 30s`";
            let duration = duration.ok_or_else(|| Error::expected(expected))?;
            let parts = [duration.as_secs(), duration.subsec_nanos().into()];
            return visitor.visit_seq(SeqDeserializer::new(parts.into_iter()));
        }
        let is_section = self.table.reference.has_section(&self.key);
        visitor.visit_map(Fields {
            table: self.table,
            section: if is_section { &self.key } else { self.section },
            names: fields.iter(),
            name: "",
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map identifier ignored_any
    }
}

/// The fields of a struct.
struct Fields<'a> {
    table: &'a Table<'a>,
    section: &'a str,
    names: std::slice::Iter<'static, &'static str>,
    name: &'static str,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.names.next() else {
            return Ok(None);
        };
        self.name = name;
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let key = self.table.resolve(self.section, self.name);
        let node = Node {
            table: self.table,
            section: self.section,
            key: key.clone(),
            item: None,
        };
        _ = take_shown();
        let value = seed.deserialize(node);
        let shown = take_shown();
        if self.table.reference.get(&key).is_some() {
            self.table.read.borrow_mut().insert(key.clone(), shown);
        }
        value.map_err(|error| match error.key.as_str() {
            "" => Error { key, ..error },
            _ => error,
        })
    }
}
