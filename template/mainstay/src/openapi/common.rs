//! Adds what all operations share: the errors of the middleware, the body of a problem, and the headers of every
//! response.

use axum::http::StatusCode;
use axum::http::header::IF_MATCH;
use serde_json::{Value, json};

use super::{members, operations};
use crate::problem::{KIND, Problem};

/// The errors of any request.
const OF_ALL: &[Problem] = &[
    Problem::BAD_REQUEST,
    Problem::URI_TOO_LONG,
    Problem::MISDIRECTED,
    Problem::INTERNAL,
    Problem::UNAVAILABLE,
    Problem::OVERLOADED,
    Problem::TIMEOUT,
];
/// The errors of a request with a body.
const OF_BODIES: &[Problem] = &[
    Problem::TOO_SLOW,
    Problem::BODY_TOO_LARGE,
    Problem::UNSUPPORTED_MEDIA_TYPE,
    Problem::INVALID,
];
/// The errors of a request with `If-Match`; the last one only if the header is required.
const OF_VERSIONS: &[Problem] = &[Problem::PRECONDITION_FAILED, Problem::PRECONDITION_REQUIRED];
/// The errors of a request with an idempotency key.
const OF_KEYS: &[Problem] = &[
    Problem::KEY_MALFORMED,
    Problem::KEY_IN_USE,
    Problem::KEY_REUSED,
];
/// The errors of a request that is not safe.
const OF_CHANGES: &[Problem] = &[Problem::CROSS_ORIGIN];

pub(super) fn add(api: &mut Value) {
    let components = &mut api["components"];
    components["headers"]["x-request-id"] = json!({ "description": "The id of the request in the log", "schema": { "type": "string" } });
    components["headers"]["retry-after"] = json!({
        "description": "Seconds to wait before a retry",
        "schema": { "type": "integer", "minimum": 0 },
    });
    for problem in [OF_ALL, OF_BODIES, OF_VERSIONS, OF_CHANGES].concat() {
        let response = &mut components["responses"][name(problem.status)];
        describe(response, &problem);
        complete(response, problem.status.as_str());
    }
    for (method, operation) in operations(api) {
        add_errors(method, operation);
    }
}

/// Adds the errors of the middleware to those that the handler describes.
fn add_errors(method: &str, operation: &mut Value) {
    let if_any = |is_any, problems| if is_any { problems } else { &[][..] };
    let of_version = match required(operation, IF_MATCH.as_str()) {
        Some(true) => OF_VERSIONS,
        Some(false) => &OF_VERSIONS[..1],
        None => &[],
    };
    let of_edge = [
        OF_ALL,
        if_any(operation.get("requestBody").is_some(), OF_BODIES),
        of_version,
        if_any(!["get", "head"].contains(&method), OF_CHANGES),
    ];
    let of_key = if_any(required(operation, "idempotency-key").is_some(), OF_KEYS);
    let responses = &mut operation["responses"];
    // These come first: a reference to a shared response cannot be extended.
    for problem in of_key {
        describe(&mut responses[problem.status.as_str()], problem);
    }
    for problem in of_edge.concat() {
        let response = &mut responses[problem.status.as_str()];
        if response.is_null() {
            response["$ref"] = format!("#/components/responses/{}", name(problem.status)).into();
        } else if response.get("$ref").is_none() {
            describe(response, &problem);
        }
    }
    for (status, response) in members(responses, "") {
        if response.get("$ref").is_none() {
            complete(response, status);
        }
    }
}

/// Whether the operation requires this header, if it takes it.
fn required(operation: &Value, header: &str) -> Option<bool> {
    let mut parameters = operation["parameters"].as_array()?.iter();
    let taken = parameters.find(|parameter| parameter["name"] == header)?;
    Some(taken["required"] == true)
}

/// Adds a problem to the description of a response.
fn describe(response: &mut Value, problem: &Problem) {
    let before = response["description"].as_str().unwrap_or_default();
    let text = format!("{before} `{}`: {}.", problem.code, problem.title);
    response["description"] = text.trim_start().into();
}

/// Adds the body of a problem, and the headers of every response with this status.
fn complete(response: &mut Value, status: &str) {
    if status.starts_with(['4', '5']) && response.get("content").is_none() {
        response["content"][KIND]["schema"]["$ref"] = "#/components/schemas/Problem".into();
    }
    let headers = &mut response["headers"];
    headers["x-request-id"]["$ref"] = "#/components/headers/x-request-id".into();
    if ["429", "503"].contains(&status) {
        headers["retry-after"]["$ref"] = "#/components/headers/retry-after".into();
    }
}

/// The name of the shared response with a status, such as `NotFound`.
fn name(status: StatusCode) -> String {
    status
        .canonical_reason()
        .unwrap_or("Refused")
        .replace(' ', "")
}
