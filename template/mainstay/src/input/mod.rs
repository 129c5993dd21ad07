//! Extractors that validate: a request that is not valid gets one [`Problem`] that names all places that are
//! wrong.
//!
//! [`Json`], [`Path`] and [`Query`] replace those of axum, which answer errors as text. They refuse unknown
//! fields and parameters as well: an unknown name is most likely misspelt, and to ignore it would do something
//! else than the client asked for.
//!
//! The rules of a type are those of the crate `garde`, which names a field as Rust does and does not know
//! `serde`. So name fields in JSON as in Rust, and give a newtype `#[garde(transparent)]`.

mod json;
mod objects;
mod path;
mod query;

use garde::{Path as Place, Report, Validate};

use crate::problem::{Fault, MAX_FAULTS, Problem};

pub use json::Json;
pub use path::Path;
pub use query::Query;

/// The value, if nothing in it is unknown and it keeps to the rules of its type; or else all that is
/// wrong with it.
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

/// Keeps what is unknown: of very much, the first.
fn note(unknown: &mut Vec<Fault>, fault: impl FnOnce() -> Fault) {
    if unknown.len() < MAX_FAULTS {
        unknown.push(fault());
    }
}

/// What serde says, without the names of our types: those are nobody's business.
fn words(error: &str) -> &'static str {
    if error.starts_with("missing field") {
        "is missing"
    } else if error.starts_with("duplicate field") {
        "is a duplicate"
    } else if error.starts_with("unknown field") {
        UNKNOWN
    } else if error.starts_with("unknown variant") {
        "is not one of the allowed values"
    } else if error.starts_with("invalid type") {
        "has the wrong type"
    } else {
        "is not valid"
    }
}

const UNKNOWN: &str = "is unknown";

/// The field that an error is about, if it is one that serde puts into words only.
fn field(error: &str) -> Option<&str> {
    let about = ["missing field `", "duplicate field `", "unknown field `"];
    let rest = about.iter().find_map(|begin| error.strip_prefix(begin))?;
    rest.split_once('`').map(|(field, _)| field)
}
