//! Settings: typed and strict, each with its source.
//!
//! The layers, lowest to highest: files of defaults, which are compiled in and have every key; each `--config FILE`;
//! `APP__SECTION__KEY` and `APP__SECTION__KEY_FILE` in the environment; `--set key=value`.
//!
//! - All problems (unknown keys, wrong types, values that contradict each other) are reported at once, each with its
//!   key, its value, what set it, and what is allowed.
//! - No value is coerced: text is not a number, `1.5` is not `2`, `no` is not `false`.
//! - A secret is never printed: not in an error, not by `config print`, not by `Debug`.
//!
//! A section is a struct with `#[derive(Deserialize, Validate)]` beside the code that it configures:
//!
//! ```ignore
//! #[derive(Deserialize, Validate)]
//! struct Hello {
//!     #[serde(deserialize_with = "whole_number::<1, 10, _, _>")]
//!     most: u32,
//!     #[garde(custom(at_least("1h")))]
//!     forget_after: Duration,
//! }
//! ```
//!
//! To add a setting, add a field, and a default with a comment to the service's `config/default.toml`.
//! `testing::check_settings` fails when one of them is missing.
//!
//! A field has the name of its key, and a struct that of its section; a struct in a field of another name has further
//! keys of the section around it. A field renamed to a name with a dot is a key of another section. `[section]` in a name
//! stands for the section. An `Option` is `None` if the value is `""`.

mod deserializer;
mod reader;
mod report;
mod sources;
mod table;
mod value;

use garde::Validate;
use serde::de::DeserializeOwned;

pub(crate) use reader::load;
pub(crate) use report::{Entry, Problems, changed, print};
pub(crate) use sources::Sources;
pub(crate) use table::Table;
pub use value::{
    ByteSize, Quantity, REDACTED, Secret, at_least, from_secret_text, from_text, redact_as, rule,
    whole_number, within,
};

/// A struct of settings: any type with `#[derive(Deserialize, Validate)]`.
pub trait Section: DeserializeOwned + Validate<Context = ()> {}

impl<S: DeserializeOwned + Validate<Context = ()>> Section for S {}

/// Valid settings, with the value in force and the source of each.
#[derive(Debug)]
pub(crate) struct Loaded<S> {
    pub(crate) settings: S,
    pub(crate) entries: Vec<Entry>,
}

#[cfg(test)]
mod tests;
