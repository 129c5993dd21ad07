//! A struct is an object in JSON, and nothing else.
//!
//! The code that serde derives for a struct takes a list as well, with the fields in their order: `["a", 1]` would
//! pass for `{"name": "a", "count": 1}`, until the order of the fields changes. This deserializer refuses a list in
//! place of an object at any depth. It cannot see into what serde buffers before it knows the type (`untagged`, or an
//! internal `tag`).

use std::fmt::{self, Formatter};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// What serde knows by a name (a deserializer, a visitor, what gives elements), with objects for
/// structs: in it, and in all that it hands on.
pub(super) struct Objects<T>(pub(super) T);

/// What makes a struct, of an object only.
struct Fields<V>(V);

macro_rules! hand_on {
    ($($method:ident($($argument:ident: $kind:ty),*))*) => {
        $(
            fn $method<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
                self.0.$method($($argument,)* Objects(visitor))
            }
        )*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    hand_on! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_unit()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_map() deserialize_identifier() deserialize_ignored_any()
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, Fields(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Fields<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(map))
    }
}

macro_rules! hand_over {
    ($($method:ident: $kind:ty;)*) => {
        $(
            fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
                self.0.$method(value)
            }
        )*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    hand_over! {
        visit_bool: bool;
        visit_i64: i64;
        visit_i128: i128;
        visit_u64: u64;
        visit_u128: u128;
        visit_f64: f64;
        visit_str: &str;
        visit_borrowed_str: &'de str;
        visit_string: String;
        visit_bytes: &[u8];
        visit_borrowed_bytes: &'de [u8];
        visit_byte_buf: Vec<u8>;
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, chosen: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Objects(chosen))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(value))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Objects<A> {
    type Error = A::Error;
    type Variant = Objects<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.0.variant_seed(seed)?;
        Ok((value, Objects(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Objects(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(length, Objects(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Fields(visitor))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Whole {
        part: Part,
        #[serde(default)]
        parts: Vec<Part>,
        #[serde(default)]
        perhaps: Option<Part>,
        #[serde(default)]
        kind: Option<Kind>,
        #[serde(default)]
        pair: (u8, u8),
        #[serde(default)]
        by_name: BTreeMap<String, Part>,
    }

    #[derive(Debug, Deserialize)]
    struct Part {
        number: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Bare,
        Named { number: u8 },
        Whole(Part),
        Two(u8, Part),
    }

    fn read(json: &str) -> Result<Whole, String> {
        let mut json = serde_json::Deserializer::from_str(json);
        Whole::deserialize(Objects(&mut json)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_is_no_object_wherever_it_stands() {
        for json in [
            r#"[{"number": 1}]"#,
            r#"{"part": [1]}"#,
            r#"{"part": {"number": 1}, "parts": [[1]]}"#,
            r#"{"part": {"number": 1}, "perhaps": [1]}"#,
            r#"{"part": {"number": 1}, "kind": {"named": [1]}}"#,
            r#"{"part": {"number": 1}, "kind": {"whole": [1]}}"#,
            r#"{"part": {"number": 1}, "kind": {"two": [1, [2]]}}"#,
            r#"{"part": {"number": 1}, "by_name": {"a": [1]}}"#,
        ] {
            let refused = read(json).unwrap_err();
            assert!(
                refused.starts_with("invalid type: sequence"),
                "{json}: {refused}"
            );
            // Or this would be a test of nothing: by itself, serde takes it.
            assert!(serde_json::from_str::<Whole>(json).is_ok(), "{json}");
        }
    }

    #[test]
    fn everything_else_is_read_as_ever() {
        let whole = read(
            r#"{"part": {"number": 1}, "parts": [{"number": 2}, {"number": 3}], "perhaps": null,
                "kind": {"two": [4, {"number": 5}]}, "pair": [6, 7], "by_name": {"a": {"number": 8}}}"#,
        )
        .unwrap();
        let parts: Vec<_> = whole.parts.iter().map(|part| part.number).collect();
        assert_eq!((whole.part.number, parts), (1, vec![2, 3]));
        assert!(whole.perhaps.is_none());
        assert!(matches!(whole.kind, Some(Kind::Two(4, Part { number: 5 }))));
        assert_eq!((whole.pair, whole.by_name["a"].number), ((6, 7), 8));

        let kind = |kind: &str| read(&format!(r#"{{"part": {{"number": 1}}, "kind": {kind}}}"#));
        let kind = |name: &str| kind(name).unwrap().kind.unwrap();
        assert!(matches!(kind(r#""bare""#), Kind::Bare));
        assert!(matches!(
            kind(r#"{"named": {"number": 2}}"#),
            Kind::Named { number: 2 }
        ));
        assert!(matches!(
            kind(r#"{"whole": {"number": 3}}"#),
            Kind::Whole(Part { number: 3 })
        ));
    }
}
