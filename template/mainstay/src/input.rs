//! Extractors that validate: [`Json`], [`Path`] and [`Query`] replace those of axum, which answer errors as text.
//!
//! - A request that is refused gets a [`Problem`] that names each place that is wrong. An error of type is reported
//!   alone: rules are checked once the types fit.
//! - Unknown fields and parameters are refused. An unknown name is most likely misspelt, and to ignore it would do
//!   something else than the client asked for.
//!
//! The rules of a type are those of the crate `garde`, which names a field as Rust does and does not know
//! `serde`. So name fields in JSON as in Rust, and give a newtype `#[garde(transparent)]`.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use garde::{Report, Validate};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_path_to_error::Segment;
use url::form_urlencoded;

use crate::problem::{Fault, MAX_FAULTS, Problem, pointer};

/// A body of JSON. As an extractor, it keeps the rules of its type; it is also an answer.
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

/// `application/json`, and any other kind that is written in JSON, such as `application/ld+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    let Some((kind, subtype)) = essence.and_then(|essence| essence.trim().split_once('/')) else {
        return false;
    };
    let suffix = subtype.rsplit('+').next().unwrap_or_default();
    kind.eq_ignore_ascii_case("application") && suffix.eq_ignore_ascii_case("json")
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
    read(|| json, Problem::INVALID, Fault::in_body)
}

/// The parameters of the query, valid by the rules of the type.
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
        read(pairs, Problem::BAD_REQUEST, fault).map(Self)
    }
}

/// The parameters of the path: one value, a tuple, or a struct with their names.
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
                let given = RawPathParams::from_request_parts(parts, state).await;
                let names = given.iter().flatten().map(|(name, _)| name.to_owned());
                Err(refuse(error.kind(), &names.collect::<Vec<_>>()))
            }
            Err(_) => Err(Problem::INTERNAL),
        }
    }
}

/// The problem of a path whose route has parameters of these names, in their order.
fn refuse(error: &ErrorKind, names: &[String]) -> Problem {
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
        // Of several parameters, it does not name the wrong one.
        ErrorKind::Message(_) => (names.first().filter(|_| names.len() == 1), "", ""),
        // The route does not fit its handler.
        _ => return Problem::INTERNAL,
    };
    let detail = match must_be(expected_type) {
        WHOLE_NUMBER if value.parse::<i128>().is_ok() => OUT_OF_RANGE,
        detail => detail,
    };
    Problem::BAD_REQUEST.with(name.map(|name| Fault::in_parameter(name, detail)))
}

/// Deserializes a value and checks its rules. `fault` makes a fault of a JSON pointer and what is wrong there.
fn read<'de, T, D>(
    input: impl Fn() -> D,
    refused: Problem,
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
        let broken = value.validate().err().map(Report::into_inner);
        for (path, error) in broken.into_iter().flatten() {
            let detail = error.message().to_owned();
            faults.push(fault(pointer_of_rule(&path), detail.into()));
        }
        if faults.is_empty() {
            return Ok(value);
        }
    } else if let Err(error) = serde_path_to_error::deserialize::<_, T>(input()) {
        // Read again, since to find the place of an error costs an allocation for each field.
        let (mut place, error) = (pointer_of_error(error.path()), error.inner().to_string());
        let field = field(&error).map(|field| pointer("", field));
        // serde reports these at the object that has the field, or lacks it.
        if let Some(field) = field.filter(|field| !place.ends_with(field)) {
            place += &field;
        }
        faults.push(fault(place, detail(&error).into()));
    }
    Err(refused.with(faults))
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

/// By the steps of the path, as garde's own `select!`. Its text, `parts[3].name`, is ambiguous for keys of maps.
fn pointer_of_rule(path: &garde::Path) -> String {
    let steps = path.__iter().rev();
    let steps = steps.filter(|(kind, _)| *kind != garde::error::Kind::None);
    steps.fold(String::new(), |parent, (_, step)| pointer(&parent, step))
}

const OUT_OF_RANGE: &str = "is out of range";
const WHOLE_NUMBER: &str = "must be a whole number";
const NUMBER: &str = "must be a number";
const BOOLEAN: &str = "must be true or false";

/// The beginnings of serde's errors, and what a client is told instead, without the names of our types.
/// `serde_urlencoded` reports how a number or a boolean failed to parse, `serde_json` which type it expected.
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

fn detail(error: &str) -> &'static str {
    let mut details = DETAILS.iter();
    if let Some((_, detail)) = details.find(|(start, _)| error.starts_with(start)) {
        return detail;
    }
    let expected = error.rsplit_once("expected ").map(|(_, rest)| rest);
    let expected = expected.and_then(|rest| rest.split(" at line").next());
    must_be(expected.unwrap_or_default())
}

/// What a value must be, by serde's name of its type.
fn must_be(expected: &str) -> &'static str {
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

/// The field that an error is about, if serde names it only in the text.
fn field(error: &str) -> Option<&str> {
    let mut naming = DETAILS[..3].iter();
    let is_named = naming.any(|(start, _)| error.starts_with(start));
    error.split('`').nth(1).filter(|_| is_named)
}

#[cfg(test)]
mod tests;
