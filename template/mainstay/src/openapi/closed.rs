//! Marks the schemas of bodies as closed: unknown fields are refused.

use std::collections::BTreeMap;

use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, Object};
use utoipa::openapi::{Components, OpenApi, RefOr, Schema};

/// Closes the schemas of all request bodies. The parts of an `allOf` (serde's `flatten`) stay open, or each would
/// refuse the fields of the others.
pub(super) fn close(api: &mut OpenApi) {
    let mut named = Vec::new();
    for path in api.paths.paths.values_mut() {
        for operation in super::changing(path) {
            let Some(RefOr::T(body)) = &mut operation.request_body else {
                continue;
            };
            for content in body.content.values_mut() {
                if let RefOr::T(content) = content {
                    let schema = content.schema.iter_mut();
                    schema.for_each(|schema| walk(schema, false, &mut named));
                }
            }
        }
    }
    let schemas = &mut api.components.get_or_insert_with(Components::new).schemas;
    let mut seen = BTreeMap::new();
    while let Some((name, is_part)) = named.pop() {
        // A schema that is a part of an `allOf` anywhere stays open everywhere.
        let done = seen.get(&name).is_some_and(|was| *was || !is_part);
        if !done && let Some(schema) = schemas.get_mut(&name) {
            walk(schema, is_part, &mut named);
            seen.insert(name, is_part);
        }
    }
}

/// Closes a schema and those within it. Collects references, and whether each is a part of an `allOf`.
fn walk(schema: &mut RefOr<Schema>, is_part: bool, named: &mut Vec<(String, bool)>) {
    let schema = match schema {
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next();
            named.extend(name.map(|name| (name.to_owned(), is_part)));
            return;
        }
        RefOr::T(schema) => schema,
    };
    match schema {
        Schema::Object(object) => {
            close_object(object, is_part);
            for field in object.properties.values_mut() {
                walk(field, false, named);
            }
            let values = object.additional_properties.as_deref_mut();
            if let Some(AdditionalProperties::RefOr(values)) = values {
                walk(values, false, named);
            }
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(item) = &mut array.items {
                walk(item, false, named);
            }
        }
        Schema::AllOf(all) => all.items.iter_mut().for_each(|it| walk(it, true, named)),
        Schema::OneOf(one) => one.items.iter_mut().for_each(|it| walk(it, is_part, named)),
        Schema::AnyOf(any) => any.items.iter_mut().for_each(|it| walk(it, is_part, named)),
        _ => {}
    }
}

fn close_object(object: &mut Object, is_part: bool) {
    let more = object.additional_properties.as_deref();
    let is_closed = matches!(more, Some(AdditionalProperties::FreeForm(false)));
    if is_part && is_closed {
        object.additional_properties = None;
    } else if !is_part && more.is_none() && !object.properties.is_empty() {
        let none = AdditionalProperties::FreeForm(false);
        object.additional_properties = Some(Box::new(none));
    }
}
