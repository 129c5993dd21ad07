//! Conditional requests (RFC 9110): the version of a resource in `ETag`, and its check by `If-Match` and
//! `If-None-Match`.
//!
//! ```ignore
//! async fn read(Path(id): Path<i64>, known: IfNoneMatch) -> Result<Response, Problem> {
//!     let order = orders.get(id).await?;
//!     Ok(known.respond(order.tag(), Json(order)))
//! }
//!
//! async fn remove(Path(id): Path<i64>, expected: IfMatch) -> Result<StatusCode, Problem> {
//!     expected.check(&orders.get(id).await?.tag())?;
//!     orders.remove(id).await
//! }
//! ```
//!
//! A client cannot overwrite a version that it has not read. A weak tag, `W/"…"`, never matches in `If-Match`.
//!
//! In the description of a route, both are parameters, such as `("if-match" = String, Header)`.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};

use crate::problem::{Fault, Problem};

/// The version of a resource, in the header `ETag`: a strong entity tag, with its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The tag of a resource that counts its versions.
    #[must_use]
    pub fn of_version(version: i64) -> Self {
        Self(format!("\"{version}\""))
    }
}

impl IntoResponseParts for Tag {
    type Error = <[(HeaderName, String); 1] as IntoResponseParts>::Error;

    fn into_response_parts(self, parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        [(header::ETAG, self.0)].into_response_parts(parts)
    }
}

/// The versions that a client has already: an extractor for `If-None-Match`.
#[derive(Debug, Clone)]
pub struct IfNoneMatch(Vec<String>);

impl IfNoneMatch {
    /// The answer with its tag, or 304 if the client has this version.
    #[must_use]
    pub fn respond(&self, tag: Tag, answer: impl IntoResponse) -> Response {
        let mut known = self.0.iter();
        if known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag.0) {
            (StatusCode::NOT_MODIFIED, tag, ()).into_response()
        } else {
            (tag, answer).into_response()
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(elements(parts, header::IF_NONE_MATCH)))
    }
}

/// The version that a change is about: an extractor for `If-Match`.
#[derive(Debug, Clone)]
pub struct IfMatch(Vec<String>);

impl IfMatch {
    /// Refuses a request that is about another version with 412, and one that names no version with 428.
    pub fn check(&self, current: &Tag) -> Result<(), Problem> {
        if self.0.is_empty() {
            let detail = "is missing: send the ETag of the version to change, or * for any version";
            return Err(Problem::PRECONDITION_REQUIRED.with([Fault::in_header("if-match", detail)]));
        }
        self.check_if_given(current)
    }

    /// Like [`check`](Self::check), but allows a change without a version.
    pub fn check_if_given(&self, current: &Tag) -> Result<(), Problem> {
        if self.0.is_empty() || self.0.iter().any(|tag| tag == "*" || *tag == current.0) {
            return Ok(());
        }
        let detail = format!("is not the current version, {}; read it first", current.0);
        Err(Problem::PRECONDITION_FAILED.with([Fault::in_header("if-match", detail)]))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(elements(parts, header::IF_MATCH)))
    }
}

/// The elements of a list of entity tags; at least one if there is the header. A tag of another service that contains a
/// comma becomes two that equal no [`Tag`].
fn elements(parts: &Parts, name: HeaderName) -> Vec<String> {
    let values = parts.headers.get_all(name).iter();
    let elements = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    elements.map(|element| element.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a request with this header, once for each value.
    fn with(name: &HeaderName, values: &[&str]) -> Parts {
        let mut request = axum::http::Request::get("/");
        for value in values {
            request = request.header(name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn if_match_allows_the_named_version_only() {
        for (values, expected) in [
            (&["\"3\""] as &[_], Ok(())),
            (&["*"], Ok(())),
            (&["\"2\", \"3\""], Ok(())),
            (&["\"2\",,\"3\" "], Ok(())),
            (&["\"2\"", "\"3\""], Ok(())),
            (&["\"2\""], Err((412, "precondition_failed"))),
            (&["W/\"3\""], Err((412, "precondition_failed"))),
            (&["\"33\""], Err((412, "precondition_failed"))),
            (&["\"2,3\""], Err((412, "precondition_failed"))),
            (&["3"], Err((412, "precondition_failed"))),
            (&[""], Err((412, "precondition_failed"))),
            (&[], Err((428, "precondition_required"))),
        ] {
            let mut parts = with(&header::IF_MATCH, values);
            let given = IfMatch::from_request_parts(&mut parts, &()).await.unwrap();
            let checked = given.check(&Tag::of_version(3));
            let checked = checked.map_err(|problem| (problem.status.as_u16(), problem.code));
            assert_eq!(checked, expected, "{values:?}");
            let is_allowed = given.check_if_given(&Tag::of_version(3)).is_ok();
            assert_eq!(is_allowed, expected.is_ok() || values.is_empty());
        }
    }

    #[tokio::test]
    async fn if_none_match_gives_304_for_a_known_version() {
        for (values, status) in [
            (&["\"3\""] as &[_], 304),
            (&["W/\"3\""], 304),
            (&["\"2\"", "\"3\""], 304),
            (&["*"], 304),
            (&[], 200),
            (&["\"2\""], 200),
            (&["3"], 200),
            (&["nonsense"], 200),
        ] {
            let mut parts = with(&header::IF_NONE_MATCH, values);
            let known = IfNoneMatch::from_request_parts(&mut parts, &()).await;
            let response = known.unwrap().respond(Tag::of_version(3), "three");
            assert_eq!(response.status().as_u16(), status, "{values:?}");
            assert_eq!(response.headers()[header::ETAG], "\"3\"", "{values:?}");
        }
    }
}
