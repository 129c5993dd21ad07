//! What a handler is given of a request: checked, or else refused with a problem that says what is
//! wrong and where, all of it at once.
//!
//! [`Json`], [`Path`] and [`Query`] stand in for those of axum, whose refusals are text. A field or a
//! parameter that nobody knows is refused as well: it is most likely a misspelt one, and passing over
//! it would do something else than was asked for.
//!
//! The rules of a type are `garde`'s, which knows nothing of `serde`: it tells a field by its name in
//! Rust. So fields are called in JSON as in Rust, and a type that is only its content has
//! `#[garde(transparent)]`.

mod json;
mod objects;
mod path;
mod query;

use garde::{Path as Place, Report, Validate};

use crate::problem::{Fault, MOST_FAULTS, Problem};

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
    if unknown.len() < MOST_FAULTS {
        unknown.push(fault());
    }
}

/// What serde says, without the names of our types: those are nobody's business.
fn words(error: &str) -> &'static str {
    if error.starts_with("missing field") {
        "is missing"
    } else if error.starts_with("duplicate field") {
        "is there twice"
    } else if error.starts_with("unknown field") {
        UNKNOWN
    } else if error.starts_with("unknown variant") {
        "is none of the values that are known"
    } else if error.starts_with("invalid type") {
        "is of another type"
    } else {
        "is not what it must be"
    }
}

const UNKNOWN: &str = "is not known";

/// The field that an error is about, if it is one that serde puts into words only.
fn field(error: &str) -> Option<&str> {
    let about = ["missing field `", "duplicate field `", "unknown field `"];
    let rest = about.iter().find_map(|begin| error.strip_prefix(begin))?;
    rest.split_once('`').map(|(field, _)| field)
}
