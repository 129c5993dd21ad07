//! Marks the schemas of bodies as closed: unknown fields are refused.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{members, operations};

/// Closes the schemas of all request bodies. The parts of an `allOf` (serde's `flatten`) stay open, or each would
/// refuse the fields of the others.
pub(super) fn close(api: &mut Value) {
    let mut named = Vec::new();
    for (_, operation) in operations(api) {
        for (_, content) in members(operation, "/requestBody/content") {
            if let Some(schema) = content.get_mut("schema") {
                walk(schema, false, &mut named);
            }
        }
    }
    let mut seen = BTreeMap::new();
    while let Some((name, is_part)) = named.pop() {
        // A schema that is a part of an `allOf` anywhere stays open everywhere.
        let is_done = seen
            .get(&name)
            .is_some_and(|was_part| *was_part || !is_part);
        let schema = api.pointer_mut(&format!("/components/schemas/{name}"));
        if let Some(schema) = schema.filter(|_| !is_done) {
            walk(schema, is_part, &mut named);
            seen.insert(name, is_part);
        }
    }
}

/// Closes a schema and those within it. Collects references, and whether each is a part of an `allOf`.
fn walk(schema: &mut Value, is_part: bool, named: &mut Vec<(String, bool)>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        named.push((name.to_owned(), is_part));
        return;
    }
    let object = schema.as_object_mut();
    if let Some(object) = object.filter(|it| it.contains_key("properties")) {
        let rest = object.entry("additionalProperties").or_insert(false.into());
        if is_part && *rest == false {
            object.remove("additionalProperties");
        }
    }
    for (_, field) in members(schema, "/properties") {
        walk(field, false, named);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key) {
            walk(inner, false, named);
        }
    }
    for (key, is_part) in [("allOf", true), ("oneOf", is_part), ("anyOf", is_part)] {
        let several = schema.get_mut(key).and_then(Value::as_array_mut);
        for schema in several.into_iter().flatten() {
            walk(schema, is_part, named);
        }
    }
}
