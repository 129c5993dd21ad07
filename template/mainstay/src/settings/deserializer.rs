//! A deserializer of serde over the table of settings.
//!
//! A field has the name of its key, a struct that of its section. `""` is `None` to an `Option`, and a `Duration` is
//! text such as `10s`. The rest, such as the items of a list, is up to the deserializer of `toml`.

use std::time::Duration;

use serde::de::value::SeqDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};
use toml::Value;
use toml::de::Error;

use super::table::Table;
use super::value::{Quantity, SHOWN};

/// The settings, a section of them, or a value.
pub(super) struct Node<'a> {
    table: &'a Table,
    /// The key of the value, or the name of the section.
    key: &'a str,
}

impl<'a> Node<'a> {
    pub(super) fn root(table: &'a Table) -> Self {
        Self { table, key: "" }
    }

    fn value(&self) -> Value {
        let key = self.key;
        match self.table.get(key) {
            Some(setting) => setting.value.clone(),
            None => panic!("the setting `{key}`, which the program reads, has no default"),
        }
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value().deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value().as_str() == Some("") {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // Any other value is an unknown variant as well.
        let value = self.value();
        visitor.visit_enum(value.as_str().unwrap_or_default().into_deserializer())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == "Duration" && fields == ["secs", "nanos"] {
            let duration = self.value().as_str().and_then(Duration::parse);
            let words = "expected a duration up to a year, such as `10s`, `500ms` or `1m 30s`";
            let duration = duration.ok_or_else(|| Error::custom(words))?;
            let parts = [duration.as_secs(), duration.subsec_nanos().into()];
            return visitor.visit_seq(SeqDeserializer::new(parts.into_iter()));
        }
        visitor.visit_map(Fields {
            parent: self,
            names: fields.iter(),
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// The fields of a struct that are not read yet.
struct Fields<'a> {
    parent: Node<'a>,
    names: std::slice::Iter<'static, &'static str>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let name = self.names.as_slice().first();
        name.map(|name| seed.deserialize(name.into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Node { table, key } = self.parent;
        let name = self.names.next().copied().unwrap_or_default();
        if name == "[section]" {
            return seed.deserialize(table.section(key).into_deserializer());
        }
        let key = table.resolve(key, name);
        SHOWN.take();
        let value = seed.deserialize(Node { table, key: &key });
        if let Some(setting) = table.get(&key) {
            _ = setting.read.set(SHOWN.take());
        }
        if value.is_err() {
            // Set already if the error is further inside.
            _ = table.refused.set(key);
        }
        value
    }
}
