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
mod path;
mod query;

use garde::{Path as Place, Report, Validate};

use crate::problem::{Fault, MAX_FAULTS, Problem};

pub use json::Json;
pub use path::Path;
pub use query::Query;

const UNKNOWN: &str = "is unknown";
const OUT_OF_RANGE: &str = "is out of range";
const NOT_VALID: &str = "is not valid";

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

/// Adds a fault, up to the number that a problem has room for.
fn note(faults: &mut Vec<Fault>, fault: impl FnOnce() -> Fault) {
    if faults.len() < MAX_FAULTS {
        faults.push(fault());
    }
}

/// An error of serde for a client, without the names of our types.
fn detail(error: &str) -> &'static str {
    // serde_urlencoded reports how a number or a boolean failed to parse, serde_json which type it expected.
    let expected = error.rsplit_once("expected ").map_or("", |(_, rest)| {
        rest.split(" at line").next().unwrap_or(rest)
    });
    let starts = |with| error.starts_with(with);
    if starts("missing field") {
        "is missing"
    } else if starts("duplicate field") {
        "is a duplicate"
    } else if starts("unknown field") {
        UNKNOWN
    } else if starts("unknown variant") {
        "is not one of the allowed values"
    } else if starts("invalid digit") || starts("cannot parse integer") {
        must_be("i64")
    } else if starts("invalid float") {
        must_be("f64")
    } else if starts("provided string was not `true`") {
        must_be("bool")
    } else if starts("invalid value: integer") || starts("number too") {
        OUT_OF_RANGE
    } else if starts("invalid type") {
        must_be(expected)
    } else {
        NOT_VALID
    }
}

/// What a value must be, by serde's name of its type.
fn must_be(expected: &str) -> &'static str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" | "u8" | "u16" | "u32" | "u64" | "u128"
        | "usize" => "must be a whole number",
        "f32" | "f64" => "must be a number",
        "bool" | "a boolean" => "must be true or false",
        "a string" | "a borrowed string" => "must be a string",
        "a sequence" => "must be an array",
        _ if expected.starts_with("struct ") || expected == "a map" => "must be an object",
        _ => NOT_VALID,
    }
}

/// The field that an error is about, if serde names it only in the text.
fn field(error: &str) -> Option<&str> {
    let prefixes = ["missing field `", "duplicate field `", "unknown field `"];
    let rest = prefixes
        .iter()
        .find_map(|prefix| error.strip_prefix(prefix))?;
    rest.split_once('`').map(|(field, _)| field)
}
