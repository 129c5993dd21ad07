//! Names of headers that several modules use.

use axum::http::HeaderName;

/// The id of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Marks a request that may be sent again: see the feature `idempotency`.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Marks an answer that was given before.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
