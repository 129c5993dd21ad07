//! Completes the description: the problems that the edge may answer with, their body, and that unknown fields of a
//! request's body are refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};

use crate::problem::{Body, KIND};

pub(super) fn complete(mut api: OpenApi) -> Result<String, serde_json::Error> {
    // Without a license in the manifest, its name is empty.
    api.info.license.take_if(|license| license.name.is_empty());
    let mut schemas = vec![(Body::name().into_owned(), Body::schema())];
    Body::schemas(&mut schemas);
    let components = api.components.get_or_insert_default();
    components.schemas.extend(schemas);
    let mut api = serde_json::to_value(api)?;
    add_problems(&mut api);
    close_bodies(&mut api);
    // The type has the order of fields that readers expect.
    let api: OpenApi = serde_json::from_value(api)?;
    api.to_pretty_json().map(|text| text + "\n")
}

/// Describes the errors of all operations as ranges, beside those that a handler describes by itself.
fn add_problems(api: &mut Value) {
    let body = json!({ KIND: { "schema": { "$ref": "#/components/schemas/Problem" } } });
    api["components"]["responses"]["Problem"] = json!({
        "description": "The request failed: `code` names the reason",
        "headers": {
            "x-request-id": {
                "description": "The id of the request in the log",
                "schema": { "type": "string" },
            },
            "retry-after": {
                "description": "With 429 and 503: seconds to wait before a retry",
                "schema": { "type": "integer", "minimum": 0 },
            },
        },
        "content": body,
    });
    for operation in operations(api) {
        let responses = &mut operation["responses"];
        for (status, response) in members(responses) {
            let is_error = status.starts_with(['4', '5']);
            if is_error && response.get("content").is_none() && response.get("$ref").is_none() {
                response["content"] = body.clone();
            }
        }
        for range in ["4XX", "5XX"] {
            if responses[range].is_null() {
                responses[range]["$ref"] = "#/components/responses/Problem".into();
            }
        }
    }
}

fn close_bodies(api: &mut Value) {
    let mut named = Vec::new();
    for operation in operations(api) {
        let content = operation.pointer_mut("/requestBody/content");
        for (_, content) in content.into_iter().flat_map(members) {
            close(&mut content["schema"], &mut named);
        }
    }
    let mut closed = BTreeSet::new();
    while let Some(reference) = named.pop() {
        let schema = api.pointer_mut(reference.trim_start_matches('#'));
        if let Some(schema) = schema.filter(|_| closed.insert(reference)) {
            close(schema, &mut named);
        }
    }
}

/// Closes a schema and those within it. Collects references.
fn close(schema: &mut Value, named: &mut Vec<String>) {
    named.extend(schema["$ref"].as_str().map(str::to_owned));
    let Value::Object(schema) = schema else {
        return;
    };
    // The parts of an `allOf` (serde's `flatten`) stay open: each would refuse the fields of the others.
    if schema.contains_key("properties") {
        schema.entry("additionalProperties").or_insert(false.into());
    }
    for (key, inner) in schema {
        match (key.as_str(), inner) {
            ("properties", Value::Object(fields)) => {
                fields.values_mut().for_each(|field| close(field, named));
            }
            ("oneOf" | "anyOf", Value::Array(choices)) => {
                for choice in choices {
                    close(choice, named);
                }
            }
            ("items" | "additionalProperties", inner) => close(inner, named),
            _ => {}
        }
    }
}

fn operations(api: &mut Value) -> impl Iterator<Item = &mut Value> {
    let items = members(&mut api["paths"]).flat_map(|(_, path)| members(path));
    let operations = items.map(|(_, operation)| operation);
    operations.filter(|operation| operation.get("responses").is_some())
}

fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}
