//! The key of a request, and the request that it belongs to.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use crate::problem::{Fault, Problem};

pub(super) const HEADER: &str = "idempotency-key";

/// The longest key, in bytes.
const LONGEST: usize = 255;

/// The sender of a request: a key belongs to its caller.
///
/// A service puts this into the extensions of a request once it knows the sender. Without it, all clients
/// that send the same key and the same request get the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller(pub Arc<str>);

/// Describes the header of [`Once`](super::Once) in OpenAPI: `params(idempotency::KeyHeader)`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its description is used")]
pub struct KeyHeader {
    /// A key of the request, which is the same each time it is sent: the work is done once. In quotes or bare.
    #[param(
        rename = "idempotency-key",
        value_type = String,
        required = false,
        pattern = r#"^([!#-+\--:<-\[\]-~]{1,255}|"[!#-+\--:<-\[\]-~]{1,255}")$"#
    )]
    key: Option<String>,
}

/// A request with a key.
#[derive(Debug)]
pub struct Keyed {
    pub(super) route: String,
    pub(super) caller: Caller,
    pub(super) key: String,
    /// The fingerprint of the rest of the request.
    pub(super) request: [u8; 32],
}

impl Keyed {
    /// The key of a request, if it has one, and the request. Reads the body, which has its limit already.
    pub(super) async fn extract(request: Request) -> Result<(Option<Self>, Request), Problem> {
        let Some(key) = parse(request.headers())? else {
            return Ok((None, request));
        };
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await;
        let body = body.map_err(|_| Problem::BAD_REQUEST)?;
        let matched = parts.extensions.get::<MatchedPath>();
        let path = matched.map_or(parts.uri.path(), MatchedPath::as_str);
        let keyed = Self {
            route: format!("{} {path}", parts.method),
            caller: parts.extensions.get().cloned().unwrap_or_default(),
            key,
            request: fingerprint(&parts, &body),
        };
        Ok((Some(keyed), Request::from_parts(parts, Body::from(body))))
    }

    /// The name of the lock that excludes other requests with this key. Neither a route nor a key contains a
    /// line break, so that the name is unambiguous.
    pub(super) fn lock(&self) -> String {
        let (route, key, caller) = (&self.route, &self.key, &self.caller.0);
        format!("idempotency\n{route}\n{key}\n{caller}")
    }
}

/// A hash of the target and the body, byte by byte: the next version of the service must get the same hash.
fn fingerprint(parts: &Parts, body: &Bytes) -> [u8; 32] {
    let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    // No target contains a line break.
    let hash = Sha256::new().chain_update(target).chain_update("\n");
    hash.chain_update(body).finalize().into()
}

/// The key of a request, if it has one: in quotes, as a string of RFC 9651, or bare, as many clients send it.
fn parse(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let value = value.to_str().unwrap_or_default();
    let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let key = quoted.unwrap_or(value);
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(&byte);
    let is_valid = (1..=LONGEST).contains(&key.len()) && key.bytes().all(is_fit);
    if !is_valid || values.next().is_some() {
        let fault = "must be one key of 1 to 255 visible ASCII characters, in quotes or without, \
             and without `\"`, `\\`, `,` and `;` in it";
        return Err(Problem::KEY_MALFORMED.with([Fault::in_header(HEADER, fault)]));
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn key(values: &[&str]) -> Result<Option<String>, Problem> {
        let values = values.iter();
        let name = HeaderName::from_static(HEADER);
        let values = values.map(|value| (name.clone(), HeaderValue::from_str(value).unwrap()));
        parse(&values.collect())
    }

    #[test]
    fn key_is_the_same_in_quotes_and_without() {
        let longest = "x".repeat(LONGEST);
        for (value, expected) in [
            ("8e03978e-40d5", "8e03978e-40d5"),
            (r#""8e03978e-40d5""#, "8e03978e-40d5"),
            ("~!'", "~!'"),
            (&longest, &longest),
        ] {
            assert_eq!(key(&[value]).unwrap().as_deref(), Some(expected), "{value}");
        }
        assert_eq!(key(&[]).unwrap(), None);
    }

    #[test]
    fn malformed_key_is_refused() {
        let long = "x".repeat(LONGEST + 1);
        let single = [
            "",
            r#""""#,
            r#"""#,
            "a b",
            r#""a b""#,
            r#""a"b""#,
            r#""a\b""#,
            r#""a\""#,
            r#"a"b"#,
            "a,b",
            r#""a","b""#,
            r#""a";b"#,
            r#""a,b;c=1""#,
            "a\tb",
            "ä",
            &*long,
        ];
        let twice = key(&["a", "a"]);
        for refused in single.iter().map(|value| key(&[value])).chain([twice]) {
            assert_eq!(refused.unwrap_err().code, "idempotency_key_malformed");
        }
    }
}
