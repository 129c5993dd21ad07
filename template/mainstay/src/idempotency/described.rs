//! Keys in the description of an operation.

use utoipa::IntoParams;

use super::{IN_USE, REUSED, key};
use crate::problem::Problem;

/// Describes the header of [`Once`](super::Once) in OpenAPI: `params(idempotency::KeyHeader)`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only what is said of it counts")]
pub struct KeyHeader {
    /// A key of the request, which is the same each time it is sent: the work is done once. In quotes or bare.
    #[param(
        rename = "idempotency-key",
        value_type = String,
        required = false,
        pattern = r#"^([!#-+\--:<-\[\]-~]{1,255}|"([!#-\[\]-~]|\\["\\]){1,255}")$"#
    )]
    key: Option<String>,
}

/// The errors that a key may cause.
pub(crate) const PROBLEMS: &[Problem] = &[key::MALFORMED, IN_USE, REUSED];
