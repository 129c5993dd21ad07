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

use garde::{Path as Place, Report, Validate};

use crate::problem::{Fault, Problem};

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

/// Returns the value if it has no unknown fields and keeps the rules of its type, or else all of its faults.
fn valid<T: Validate<Context: Default>>(
    value: T,
    unknown: Vec<Fault>,
    refused: Problem,
    fault: impl Fn(&Place, String) -> Fault,
) -> Result<T, Problem> {
    let broken = value.validate().err().map(Report::into_inner);
    if unknown.is_empty() && broken.is_none() {
        return Ok(value);
    }
    let broken = broken.into_iter().flatten();
    let broken = broken.map(|(path, error)| fault(&path, error.message().to_owned()));
    Err(refused.with(unknown).with(broken))
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
    let is_named = DETAILS[..3]
        .iter()
        .any(|(start, _)| error.starts_with(start));
    error.split('`').nth(1).filter(|_| is_named)
}
