//! What every answer tells a browser, should it be one that reads it: by OWASP's recommendations for
//! services whose answers are data.

use std::mem;

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

/// What every answer has, unless its handler knows better.
#[derive(Debug)]
pub(super) struct Headers(HeaderMap);

impl Headers {
    pub(super) fn always() -> Self {
        let mut headers = HeaderMap::with_capacity(ALWAYS.len());
        headers.extend(ALWAYS);
        Self(headers)
    }

    /// Adds them to what a handler has said. To copy them all and add the handler's few is half the
    /// work of adding each to those.
    pub(super) fn put_on(&self, headers: &mut HeaderMap) {
        let own = mem::replace(headers, self.0.clone());
        headers.reserve(own.len() + 1);
        headers.extend(own);
    }
}
