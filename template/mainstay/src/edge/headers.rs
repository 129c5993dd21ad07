//! The security headers of every answer, by OWASP's "REST Security Cheat Sheet". Of its list, those that matter to pages
//! only are left out: `Permissions-Policy` restricts scripts, and `default-src 'none'` runs none; `Referrer-Policy` is
//! about links, and the page of the documentation sets it in its own head.

use std::mem;
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use http_body::Body;

use crate::context::{REQUEST_ID, RequestId};

/// The headers of every answer, unless its handler sets them.
const SECURITY: [(HeaderName, HeaderValue); 5] = [
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
    // Browsers ignore this without TLS.
    (
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    ),
];

/// The headers that nearly every answer has besides, each with a value of its own.
const OWN: [HeaderName; 3] = [REQUEST_ID, header::CONTENT_TYPE, header::CONTENT_LENGTH];

/// All of these headers, to be cloned. [`OWN`] comes first, with empty values: a clone has no room for more. Nine headers
/// are the most that fit the small blocks of glibc's allocator, which a tenth would leave.
static TEMPLATE: LazyLock<HeaderMap> = LazyLock::new(|| {
    let own = OWN.map(|name| (name, HeaderValue::from_static("")));
    own.into_iter().chain(SECURITY).collect()
});

/// Adds the security headers and the id of the request. To clone the template and fill in the few headers of the
/// handler costs half as much as to insert each header.
pub(super) fn put_on(response: &mut Response) {
    let length = response.body().size_hint().exact();
    let length = length.map(|length| HeaderValue::from_str(itoa::Buffer::new().format(length)));
    let headers = response.headers_mut();
    let from_handler = mem::replace(headers, TEMPLATE.clone());
    let id = RequestId::current().map(|id| id.0);
    let mut own = [id, None, length.and_then(Result::ok)];
    let mut has_others = false;
    for (name, value) in &from_handler {
        match *name {
            header::CONTENT_TYPE => own[1] = Some(value.clone()),
            header::CONTENT_LENGTH => own[2] = Some(value.clone()),
            _ => has_others = true,
        }
    }
    let is_set = own.each_ref().map(Option::is_some);
    // By position: to look each name up costs more than the rest of this function.
    for (value, own) in headers.values_mut().zip(own) {
        *value = own.unwrap_or(HeaderValue::from_static(""));
    }
    for (name, is_set) in OWN.into_iter().zip(is_set) {
        if !is_set {
            headers.remove(name);
        }
    }
    if has_others {
        headers.extend(from_handler);
    }
}
