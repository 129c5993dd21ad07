//! Names of headers that several modules use.

use axum::http::HeaderName;

/// The id of a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
