//! Extractors that validate: [`Json`], [`Path`] and [`Query`] replace those of axum, whose errors are plain text.
//!
//! - An invalid request gets a [`Problem`] that names each invalid field or parameter. A type error is reported
//!   alone: the rules are checked only after all types match.
//! - Unknown fields and parameters are refused. An unknown name is most likely a typo. If it were ignored, the
//!   service would do something that the client did not ask for.
//!
//! A type declares its rules with the crate `garde`, which reports a field by its Rust name and ignores the
//! attributes of `serde`. So do not rename fields for JSON, and give a newtype `#[garde(transparent)]`.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use garde::{Report, Validate};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_path_to_error::Segment;
use url::form_urlencoded;

use crate::problem::{Fault, MAX_FAULTS, Problem, pointer};

/// A JSON body. As an extractor, it validates by the rules of its type. It is also a response.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned + Validate<Context: Default>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let fault = Fault::in_header("content-type", "must be application/json");
            return Err(Problem::UNSUPPORTED_MEDIA_TYPE.with([fault]));
        }
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| Problem::of(rejection.status()))?;
        parse_json(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Whether the content type is `application/json`, or another JSON format, such as `application/ld+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = value.and_then(|value| value.split(|byte| *byte == b';').next());
    let essence = essence.unwrap_or_default().trim_ascii();
    let (kind, subtype) = essence.split_at(essence.len().min("application/".len()));
    let suffix = subtype.rsplit(|byte| *byte == b'+').next();
    kind.eq_ignore_ascii_case(b"application/")
        && suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"json"))
}

fn parse_json<T>(body: &[u8]) -> Result<T, Problem>
where
    T: DeserializeOwned + Validate<Context: Default>,
{
    let json: Result<&RawValue, _> = serde_json::from_slice(body);
    let json = json.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("is not valid JSON at line {line}, column {column}");
        Problem::BAD_REQUEST.with([Fault::in_body("", detail)])
    })?;
    deserialize_valid(|| json, Problem::INVALID, Fault::in_body)
}

/// The query parameters, validated by the rules of the type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + Validate<Context: Default>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        let pairs = || serde_urlencoded::Deserializer::new(pairs);
        let fault =
            |place: String, detail| Fault::in_parameter(place.trim_start_matches('/'), detail);
        deserialize_valid(pairs, Problem::BAD_REQUEST, fault).map(Self)
    }
}

/// The path parameters: one value, a tuple, or a struct with their names.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[expect(clippy::disallowed_types, reason = "its errors are replaced")]
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        match path.map(|path| path.0) {
            Ok(value) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                let parameters = RawPathParams::from_request_parts(parts, state).await;
                let names = parameters.iter().flatten().map(|(name, _)| name.to_owned());
                Err(path_problem(error.kind(), &names.collect::<Vec<_>>()))
            }
            Err(_) => Err(Problem::INTERNAL),
        }
    }
}

/// The problem for a path that cannot be deserialized. `names` are those of the route's parameters, in order.
fn path_problem(error: &ErrorKind, names: &[String]) -> Problem {
    let (name, value, expected_type) = match error {
        ErrorKind::ParseErrorAtKey {
            key,
            value,
            expected_type,
        } => (Some(key), &**value, *expected_type),
        ErrorKind::ParseErrorAtIndex {
            index,
            value,
            expected_type,
        } => (names.get(*index), &**value, *expected_type),
        ErrorKind::ParseError {
            value,
            expected_type,
        } => (names.first(), &**value, *expected_type),
        ErrorKind::InvalidUtf8InPathParam { key } | ErrorKind::DeserializeError { key, .. } => {
            (Some(key), "", "")
        }
        // The message does not say which parameter is wrong: that is clear only if there is one.
        ErrorKind::Message(_) => (names.first().filter(|_| names.len() == 1), "", ""),
        // A bug of the service: the parameters of the route do not match the type.
        _ => return Problem::INTERNAL,
    };
    let detail = match detail_of_type(expected_type) {
        WHOLE_NUMBER if value.parse::<i128>().is_ok() => OUT_OF_RANGE,
        detail => detail,
    };
    Problem::BAD_REQUEST.with(name.map(|name| Fault::in_parameter(name, detail)))
}

/// Deserializes a value and checks its rules. `fault` makes a [`Fault`] from a JSON pointer and a detail.
fn deserialize_valid<'de, T, D>(
    input: impl Fn() -> D,
    problem: Problem,
    fault: fn(String, Cow<'static, str>) -> Fault,
) -> Result<T, Problem>
where
    T: Deserialize<'de> + Validate<Context: Default>,
    D: Deserializer<'de>,
{
    let mut faults = Vec::new();
    let value = serde_ignored::deserialize::<_, _, T>(input(), |path| {
        if faults.len() < MAX_FAULTS {
            faults.push(fault(pointer_of_ignored(&path), "is unknown".into()));
        }
    });
    if let Ok(value) = value {
        let violations = value.validate().err().map(Report::into_inner);
        for (path, error) in violations.into_iter().flatten() {
            let detail = error.message().to_owned();
            faults.push(fault(pointer_of_rule(&path), detail.into()));
        }
        if faults.is_empty() {
            return Ok(value);
        }
    } else if let Err(error) = serde_path_to_error::deserialize::<_, T>(input()) {
        // Deserialize again to find the place of the error: that costs an allocation for each field.
        let (mut place, error) = (pointer_of_error(error.path()), error.inner().to_string());
        let field = field_in_message(&error).map(|field| pointer("", field));
        // For these errors, the path of serde ends at the object around the field.
        if let Some(field) = field.filter(|field| !place.ends_with(field)) {
            place += &field;
        }
        faults.push(fault(place, detail_of_error(&error).into()));
    }
    Err(problem.with(faults))
}

fn pointer_of_error(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .fold(String::new(), |parent, segment| match segment {
            Segment::Seq { index } => pointer(&parent, &index.to_string()),
            Segment::Map { key } => pointer(&parent, key),
            Segment::Enum { .. } | Segment::Unknown => parent,
        })
}

fn pointer_of_ignored(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => pointer(&pointer_of_ignored(parent), &index.to_string()),
        Path::Map { parent, key } => pointer(&pointer_of_ignored(parent), key),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => pointer_of_ignored(parent),
    }
}

/// Reads the steps of the path, as garde's `select!` does: its text, `parts[3].name`, is ambiguous for keys of maps.
fn pointer_of_rule(path: &garde::Path) -> String {
    let steps = path.__iter().rev();
    let steps = steps.filter(|(kind, _)| *kind != garde::error::Kind::None);
    steps.fold(String::new(), |parent, (_, step)| pointer(&parent, step))
}

const OUT_OF_RANGE: &str = "is out of range";
const WHOLE_NUMBER: &str = "must be a whole number";
const NUMBER: &str = "must be a number";
const BOOLEAN: &str = "must be true or false";

/// The beginnings of serde's messages, and the details that replace them, which name no Rust types. The first
/// three messages name a field. `serde_urlencoded` says how a value is malformed, `serde_json` which type it expected.
const DETAILS: [(&str, &str); 10] = [
    ("missing field", "is missing"),
    ("duplicate field", "is a duplicate"),
    ("unknown field", "is unknown"),
    ("unknown variant", "is not one of the allowed values"),
    ("invalid digit", WHOLE_NUMBER),
    ("cannot parse integer", WHOLE_NUMBER),
    ("invalid float", NUMBER),
    ("provided string was not `true`", BOOLEAN),
    ("invalid value: integer", OUT_OF_RANGE),
    ("number too", OUT_OF_RANGE),
];

fn detail_of_error(error: &str) -> &'static str {
    let mut details = DETAILS.iter();
    if let Some((_, detail)) = details.find(|(start, _)| error.starts_with(start)) {
        return detail;
    }
    let expected = error.rsplit_once("expected ").map(|(_, rest)| rest);
    let expected = expected.and_then(|rest| rest.split(" at line").next());
    detail_of_type(expected.unwrap_or_default())
}

/// The detail for a value that does not have the expected type, by serde's name for that type.
fn detail_of_type(expected: &str) -> &'static str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" | "u8" | "u16" | "u32" | "u64" | "u128"
        | "usize" => WHOLE_NUMBER,
        "f32" | "f64" => NUMBER,
        "bool" | "a boolean" => BOOLEAN,
        "a string" | "a borrowed string" => "must be a string",
        "a sequence" => "must be an array",
        _ if expected.starts_with("struct ") || expected == "a map" => "must be an object",
        _ => "is not valid",
    }
}

/// The field that serde names in the message of an error, and not in its path.
fn field_in_message(error: &str) -> Option<&str> {
    let mut naming = DETAILS[..3].iter();
    let names_field = naming.any(|(start, _)| error.starts_with(start));
    error.split('`').nth(1).filter(|_| names_field)
}

#[cfg(test)]
mod tests;
