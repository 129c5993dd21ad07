//! The security headers of every answer, by OWASP's "REST Security Cheat Sheet". Of its list, `Permissions-Policy` is
//! left out: it restricts the scripts of a page, and `default-src 'none'` runs none.

use std::mem;
use std::sync::LazyLock;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use http_body::Body;
use tokio::time::Instant;

use crate::context::{Context, RequestId};
use crate::header_names::REQUEST_ID;

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

/// Those that nearly every answer has besides, each with a value of its own.
const OWN: [HeaderName; 3] = [REQUEST_ID, header::CONTENT_TYPE, header::CONTENT_LENGTH];

/// All of them, to be copied: first those that have a value of their own, since a copy has no room for more.
static SAFE: LazyLock<HeaderMap> = LazyLock::new(|| {
    let room = OWN.map(|name| (name, HeaderValue::from_static("")));
    room.into_iter().chain(ALWAYS).collect()
});

/// Adds them, and the request's id, to what a handler has said. To copy them all and put the handler's
/// few in their places is half the work of adding each to those.
pub(super) fn put_on(response: &mut Response, id: RequestId) {
    let length = response.body().size_hint().exact();
    let headers = response.headers_mut();
    let said = mem::replace(headers, SAFE.clone());
    let [mut kind, mut length] = [None, length.and_then(in_digits)];
    let mut has_others = false;
    for (name, value) in &said {
        match *name {
            header::CONTENT_TYPE => kind = Some(value.clone()),
            header::CONTENT_LENGTH => length = Some(value.clone()),
            _ => has_others = true,
        }
    }
    let own = [Some(id.into()), kind, length];
    let is_there = own.each_ref().map(Option::is_some);
    // To look for each would take longer than all the rest.
    for (room, value) in headers.values_mut().zip(own) {
        *room = value.unwrap_or(HeaderValue::from_static(""));
    }
    for (name, is_there) in OWN.into_iter().zip(is_there) {
        if !is_there {
            headers.remove(name);
        }
    }
    if has_others {
        headers.extend(said);
    }
}

fn in_digits(length: u64) -> Option<HeaderValue> {
    HeaderValue::from_str(itoa::Buffer::new().format(length)).ok()
}

/// An answer beside the edge, which has an id as well: of a request for which there is so much time. One
/// that has its id already keeps it.
pub(crate) async fn named(time: Duration, answer: impl Future<Output = Response>) -> Response {
    if RequestId::current().is_some() {
        return answer.await;
    }
    let context = Context::until(Instant::now() + time);
    let id = context.id.clone();
    let mut response = context.scope(answer).await;
    put_on(&mut response, id);
    response
}
