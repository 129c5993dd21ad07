//! What every answer tells a browser, should it be one that reads it: by OWASP's recommendations for
//! services whose answers are data.

use std::mem;
use std::sync::LazyLock;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use tokio::time::Instant;

use crate::frame::context::{Context, RequestId};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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

/// The same, to be copied.
static SAFE: LazyLock<HeaderMap> = LazyLock::new(|| HeaderMap::from_iter(ALWAYS));

/// Adds them, and the request's id, to what a handler has said. To copy them all and add the handler's
/// few is half the work of adding each to those.
pub(super) fn put_on(headers: &mut HeaderMap, id: &RequestId) {
    let own = mem::replace(headers, SAFE.clone());
    headers.reserve(own.len() + 1);
    headers.extend(own);
    if let Ok(id) = HeaderValue::from_bytes(id.as_bytes()) {
        headers.insert(REQUEST_ID, id);
    }
}

/// An answer beside the edge, which has an id as well: of a request for which there is so much time. One
/// that has its id already keeps it.
pub async fn named(time: Duration, answer: impl Future<Output = Response>) -> Response {
    if RequestId::current().is_some() {
        return answer.await;
    }
    let context = Context::until(Instant::now() + time);
    let id = context.id.clone();
    let mut response = context.carry(answer).await;
    put_on(response.headers_mut(), &id);
    response
}
