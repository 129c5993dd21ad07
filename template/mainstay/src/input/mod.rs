//! Extractors that validate: [`Json`], [`Path`] and [`Query`] replace those of axum, which answer errors as text.
//!
//! - A request that is refused gets a [`Problem`] that names each place that is wrong. An error of type is reported
//!   alone: rules are checked once the types fit.
//! - Unknown fields and parameters are refused. An unknown name is most likely misspelt, and to ignore it would do
//!   something else than the client asked for.
//!
//! The rules of a type are those of the crate `garde`, which names a field as Rust does and does not know
//! `serde`. So name fields in JSON as in Rust, and give a newtype `#[garde(transparent)]`.

mod json;
mod parameters;

use std::borrow::Cow;

use garde::{Report, Validate};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::{Segment, Track};

use crate::problem::{Fault, MAX_FAULTS, Problem, pointer};

pub use json::Json;
pub use parameters::{Path, Query};

const UNKNOWN: &str = "is unknown";
const OUT_OF_RANGE: &str = "is out of range";
const NOT_VALID: &str = "is not valid";
const WHOLE_NUMBER: &str = "must be a whole number";
const NUMBER: &str = "must be a number";
const BOOLEAN: &str = "must be true or false";

/// The beginnings of serde's errors, and what a client is told instead, without the names of our types.
/// `serde_urlencoded` reports how a number or a boolean failed to parse, `serde_json` which type it expected.
const DETAILS: [(&str, &str); 10] = [
    ("missing field", "is missing"),
    ("duplicate field", "is a duplicate"),
    ("unknown field", UNKNOWN),
    ("unknown variant", "is not one of the allowed values"),
    ("invalid digit", WHOLE_NUMBER),
    ("cannot parse integer", WHOLE_NUMBER),
    ("invalid float", NUMBER),
    ("provided string was not `true`", BOOLEAN),
    ("invalid value: integer", OUT_OF_RANGE),
    ("number too", OUT_OF_RANGE),
];

/// The fault at a JSON pointer, in the part of the request that is read.
type FaultAt = fn(String, Cow<'static, str>) -> Fault;

/// Deserializes a value and notes its unknown fields. An error comes with the pointer to its place.
fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
    unknown: &mut Vec<Fault>,
    fault: FaultAt,
) -> Result<T, (D::Error, String)> {
    let mut track = Track::new();
    let input = serde_path_to_error::Deserializer::new(input, &mut track);
    let value = serde_ignored::deserialize(input, |path| {
        if unknown.len() < MAX_FAULTS {
            unknown.push(fault(pointer_of_ignored(&path), UNKNOWN.into()));
        }
    });
    value.map_err(|error| {
        let place = pointer_of_error(&track.path());
        match field(&error.to_string()) {
            // serde reports these at the object that has the field, or lacks it.
            Some(field) if !place.ends_with(&pointer("", field)) => (error, pointer(&place, field)),
            _ => (error, place),
        }
    })
}

/// Returns the value if it has no unknown fields and keeps the rules of its type, or else all of its faults.
fn valid<T: Validate<Context: Default>>(
    value: T,
    unknown: Vec<Fault>,
    refused: Problem,
    fault: FaultAt,
) -> Result<T, Problem> {
    let broken = value.validate().err().map(Report::into_inner);
    if unknown.is_empty() && broken.is_none() {
        return Ok(value);
    }
    let broken = broken.into_iter().flatten();
    let broken = broken
        .map(|(path, error)| fault(pointer_of_rule(&path), error.message().to_owned().into()));
    Err(refused.with(unknown).with(broken))
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

/// An error of serde for a client.
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
        _ => NOT_VALID,
    }
}

/// The field that an error is about, if serde names it only in the text.
fn field(error: &str) -> Option<&str> {
    let mut naming = DETAILS[..3].iter();
    let is_named = naming.any(|(start, _)| error.starts_with(start));
    error.split('`').nth(1).filter(|_| is_named)
}
