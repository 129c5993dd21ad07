//! Adds what all operations share: the errors of the middleware, the body of a problem, and the headers of every
//! response.

use std::fmt::Write;

use axum::http::header::IF_MATCH;
use axum::http::{HeaderName, StatusCode};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Components, Content, Header, OpenApi, Ref, RefOr, Required, Response};
use utoipa::{PartialSchema, ToSchema};

use crate::header_names::IDEMPOTENCY_KEY;
use crate::problem::{Body, KIND, Problem};

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

const REQUEST_ID: &str = "x-request-id";
const RETRY_AFTER: &str = "retry-after";

pub(super) fn add(api: &mut OpenApi) {
    // Without a license in the manifest, its name is empty.
    api.info.license.take_if(|license| license.name.is_empty());
    let components = api.components.get_or_insert_with(Components::new);
    let mut schemas = vec![(Body::name().into_owned(), Body::schema())];
    Body::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let headers = [(REQUEST_ID, request_id()), (RETRY_AFTER, retry_after())];
    let headers = headers.map(|(name, header)| (name.to_owned(), RefOr::T(header)));
    components.headers.extend(headers);
    for problem in [OF_ALL, OF_BODIES, OF_VERSIONS, OF_CHANGES].concat() {
        let response = components.responses.entry(name(problem.status));
        let response = response.or_insert_with(|| RefOr::T(Response::new("")));
        describe(response, &problem);
        complete(response, problem.status);
    }
    for path in api.paths.paths.values_mut() {
        let reading = [&mut path.get, &mut path.head];
        for operation in reading.into_iter().flatten() {
            add_errors(operation, &[]);
        }
        for operation in super::changing(path) {
            add_errors(operation, OF_CHANGES);
        }
    }
}

/// Adds the errors of the middleware to those that the handler describes.
fn add_errors(operation: &mut Operation, of_change: &[Problem]) {
    let has_body = operation.request_body.is_some();
    let of_body = if has_body { OF_BODIES } else { &[] };
    let of_version = match header(operation, &IF_MATCH) {
        Some(Required::True) => OF_VERSIONS,
        Some(Required::False) => &OF_VERSIONS[..1],
        None => &[],
    };
    let takes_keys = header(operation, &IDEMPOTENCY_KEY).is_some();
    let of_key = if takes_keys { OF_KEYS } else { &[] };
    let responses = &mut operation.responses.responses;
    // These come first: a reference to a shared response cannot be extended.
    for problem in of_key {
        let own = || Response::new("").into();
        let status = problem.status.as_str().to_owned();
        describe(responses.entry(status).or_insert_with(own), problem);
    }
    for problem in [OF_ALL, of_body, of_version, of_change].concat() {
        let shared = || Ref::from_response_name(name(problem.status)).into();
        let status = problem.status.as_str().to_owned();
        describe(responses.entry(status).or_insert_with(shared), &problem);
    }
    for (status, response) in responses {
        if let Ok(status) = status.parse() {
            complete(response, status);
        }
    }
}

/// Whether the operation takes this header, and whether it requires it.
fn header(operation: &Operation, name: &HeaderName) -> Option<Required> {
    let parameters = operation.parameters.iter().flatten();
    let mut parameters = parameters.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let taken = parameters.find(|parameter| parameter.name == name.as_str());
    taken.map(|parameter| parameter.required.clone())
}

/// Adds a problem to the description of a response, unless the response is shared.
fn describe(response: &mut RefOr<Response>, problem: &Problem) {
    let RefOr::T(Response { description, .. }) = response else {
        return;
    };
    if !description.is_empty() {
        description.push(' ');
    }
    // Writing to a string does not fail.
    _ = write!(description, "`{}`: {}.", problem.code, problem.title);
}

/// Adds the body of a problem, and the headers of every response with this status.
fn complete(response: &mut RefOr<Response>, status: StatusCode) {
    let RefOr::T(Response {
        content, headers, ..
    }) = response
    else {
        return;
    };
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && content.is_empty() {
        let body = Content::new(Some(Ref::from_schema_name(Body::name())));
        content.insert(KIND.to_owned(), body.into());
    }
    let retries = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    let retry_after = retries.contains(&status).then_some(RETRY_AFTER);
    for header in [REQUEST_ID].into_iter().chain(retry_after) {
        let shared = Ref::new(format!("#/components/headers/{header}"));
        headers.insert(header.to_owned(), RefOr::Ref(shared));
    }
}

/// The name of the shared response with a status, such as `NotFound`.
fn name(status: StatusCode) -> String {
    let words = status.canonical_reason().unwrap_or("Refused");
    words.split(' ').collect()
}

fn request_id() -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .description(Some("The id of the request in the log"))
        .build()
}

fn retry_after() -> Header {
    let seconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0));
    HeaderBuilder::new()
        .schema(Some(seconds))
        .description(Some("Seconds to wait before a retry"))
        .build()
}
