//! The security headers of every answer, by OWASP's "REST Security Cheat Sheet". Of its list, those that matter to pages
//! only are left out: `Permissions-Policy` restricts scripts, and `default-src 'none'` runs none; `Referrer-Policy` is
//! about links, and the page of the documentation sets it in its own head. `Strict-Transport-Security` is left to the
//! proxy that ends TLS (RFC 6797, 7.2): browsers apply it to all ports of a host, so they would use HTTPS for the
//! operator's listener, which has no TLS.

use std::mem;
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use http_body::Body;

use crate::context::{REQUEST_ID, RequestId};

/// The headers of every answer, unless its handler sets them.
const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    // An answer is data: a browser must not load, run or frame anything in it.
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    // Pages of other sites cannot embed it.
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The headers that nearly every answer has besides, each with a value of its own.
const OWN: [HeaderName; 3] = [REQUEST_ID, header::CONTENT_TYPE, header::CONTENT_LENGTH];

/// All of these headers, to be cloned: [`OWN`] comes first, with empty values. More than nine headers would not fit the
/// small blocks of glibc's allocator.
static TEMPLATE: LazyLock<HeaderMap> = LazyLock::new(|| {
    let own = OWN.map(|name| (name, HeaderValue::from_static("")));
    own.into_iter().chain(SECURITY).collect()
});

/// Adds the security headers and the id of the request, and returns the length of the body, if it is known. To clone the
/// template and fill in the few headers of the handler costs half as much as to insert each header.
pub(super) fn put_on(response: &mut Response) -> Option<u64> {
    let exact_length = response.body().size_hint().exact();
    let headers = response.headers_mut();
    let from_handler = mem::replace(headers, TEMPLATE.clone());
    // By position: to look each name up costs more than the rest of this function.
    let mut values = headers.values_mut();
    let [Some(id), Some(kind), Some(length)] = OWN.map(|_| values.next()) else {
        return exact_length;
    };
    if let Some(RequestId(current)) = RequestId::current() {
        *id = current;
    }
    if let Some(exact) = exact_length
        && let Ok(text) = HeaderValue::from_str(itoa::Buffer::new().format(exact))
    {
        *length = text;
    }
    let mut has_others = false;
    for (name, value) in &from_handler {
        match *name {
            header::CONTENT_TYPE => *kind = value.clone(),
            header::CONTENT_LENGTH => *length = value.clone(),
            _ => has_others = true,
        }
    }
    let is_set = [id, kind, length].map(|value| !value.is_empty());
    for (name, is_set) in OWN.into_iter().zip(is_set) {
        if !is_set {
            headers.remove(name);
        }
    }
    if has_others {
        headers.extend(from_handler);
    }
    exact_length
}
