//! The API description is complete, and the committed file is current.

use std::collections::BTreeSet;

use mainstay::testing::{check_committed, get};
use serde_json::Value;

use crate::service;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[test]
fn openapi_json_is_what_the_service_serves() {
    let service = service().start();
    let served = get(service.http(), "/openapi.json");
    assert_eq!(served.status, 200, "{}", served.body);
    check_committed(COMMITTED, &served.body);
}

#[test]
fn every_operation_describes_all_its_responses() {
    let service = service().start();
    let api = get(service.http(), "/openapi.json").json();
    let mut names = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(names.insert(name) && !name.is_empty(), "{at}: {name:?}");
            let is_said = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
            assert!(is_said(&operation["summary"]), "{at}: no doc comment");
            assert!(is_said(&operation["tags"][0]), "{at}: no tag");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(is_said(&parameter["description"]), "{at}: {parameter}");
            }
            let holes = path.matches('{').count();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let in_path = parameters.filter(|parameter| parameter["in"] == "path");
            assert_eq!(in_path.count(), holes, "{at}: its parameters");
            let answers = operation["responses"].as_object().unwrap();
            assert!(
                answers.keys().any(|status| status.starts_with('2')),
                "{at}: no success"
            );
            for range in ["4XX", "5XX"] {
                assert!(answers.contains_key(range), "{at}: no {range}");
            }
            for (status, answer) in answers {
                let answer = resolve(&api, answer);
                assert!(is_said(&answer["description"]), "{at}: {status}");
                if status.as_str() >= "4" {
                    let body = &answer["content"]["application/problem+json"]["schema"];
                    let problem = &resolve(&api, body)["properties"]["code"];
                    assert!(problem.is_object(), "{at}: {status} is no problem");
                }
            }
        }
    }
    assert!(!names.is_empty(), "nothing is described");
}

/// Follows a reference.
fn resolve<'a>(api: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => api.pointer(place.trim_start_matches('#')).unwrap(),
        None => value,
    }
}
