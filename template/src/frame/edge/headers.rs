//! What every answer tells a browser, should it be one that reads it: by OWASP's recommendations for
//! services whose answers are data.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// What a handler says itself stays as it is.
const ALWAYS: [(HeaderName, HeaderValue); 7] = [
    // Nothing is kept by anybody on the way, unless a handler knows better.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    // Data is no page: nothing in it is loaded, run or framed.
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // It is what its `Content-Type` says.
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    // No page of another site can embed it.
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    // Once it was reached by TLS, it always is. Without TLS, browsers pass over this.
    (
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    ),
];

pub(super) fn secure(headers: &mut HeaderMap) {
    headers.reserve(ALWAYS.len() + 2);
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(value);
    }
}
