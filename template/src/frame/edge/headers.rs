//! What every answer tells a browser, should it be one that reads it: by OWASP's "REST Security Cheat Sheet".
//! Of its list, `Permissions-Policy` is left out: it is about what the scripts of a page may use, and a policy of
//! `default-src 'none'` runs none.

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

/// The same, to be copied, and those that follow in nearly every answer: a copy has no room for more.
static SAFE: LazyLock<HeaderMap> = LazyLock::new(|| {
    let mut safe = HeaderMap::from_iter(ALWAYS);
    for name in [REQUEST_ID, header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        safe.insert(name, HeaderValue::from_static(""));
    }
    safe
});

/// The same in the words of HTTP/1, for an answer that is no [`Response`].
pub static LINES: LazyLock<String> = LazyLock::new(|| {
    let line = |(name, value): (HeaderName, HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        format!("{name}: {value}\r\n")
    };
    ALWAYS.map(line).concat()
});

/// Adds them, and the request's id, to what a handler has said. To copy them all and add the handler's
/// few is half the work of adding each to those.
pub(super) fn put_on(headers: &mut HeaderMap, id: RequestId) {
    let own = mem::replace(headers, SAFE.clone());
    // The last one first, since then no other has to move.
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE] {
        if !own.contains_key(&name) {
            headers.remove(name);
        }
    }
    headers.extend(own);
    headers.insert(REQUEST_ID, id.into());
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
    put_on(response.headers_mut(), id);
    response
}
