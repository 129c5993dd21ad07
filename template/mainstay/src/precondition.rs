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
//! - A client that has the current version gets 304 without a body.
//! - A client cannot overwrite a version that it has not read: a change names the version that it is about.
//!   It gets 412 if there is a newer one, and 428 if it names none. A route that takes `Option<IfMatch>`
//!   allows changes without a version.
//! - A weak tag, `W/"…"`, never matches in `If-Match`. What is no entity tag matches nothing.
//!
//! In the description of a route, both are parameters, such as `("if-match" = String, Header)`.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
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
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        let value = HeaderValue::try_from(self.0).ok();
        let tag = value.map(|value| (header::ETAG, value));
        parts.headers_mut().extend(tag);
        Ok(parts)
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
        Ok(Self(elements(&parts.headers, &header::IF_NONE_MATCH)))
    }
}

/// The version that a change is about: an extractor for `If-Match`.
#[derive(Debug, Clone)]
pub struct IfMatch(Vec<String>);

impl IfMatch {
    /// Checks that the request is about the current version.
    ///
    /// # Errors
    ///
    /// [`Problem::PRECONDITION_FAILED`] if it is about another one.
    pub fn check(&self, current: &Tag) -> Result<(), Problem> {
        if self.0.iter().any(|tag| tag == "*" || *tag == current.0) {
            return Ok(());
        }
        let detail = format!("is not the current version, {}; read it first", current.0);
        Err(Problem::PRECONDITION_FAILED.with([fault(detail)]))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(given) =
            <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await;
        given.ok_or_else(|| {
            let detail = "is missing: send the ETag of the version to change, or * for any version";
            Problem::PRECONDITION_REQUIRED.with([fault(detail.to_owned())])
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        let is_given = parts.headers.contains_key(header::IF_MATCH);
        Ok(is_given.then(|| Self(elements(&parts.headers, &header::IF_MATCH))))
    }
}

fn fault(detail: String) -> Fault {
    Fault::in_header(header::IF_MATCH.as_str(), detail)
}

/// The elements of a list of entity tags. A tag of another service that contains a comma becomes two that equal
/// no [`Tag`].
fn elements(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let elements = values.flat_map(|value| value.split(','));
    elements.map(|element| element.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> Parts {
        let mut request = axum::http::Request::get("/");
        for value in values {
            request = request.header(name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn if_match_allows_the_named_version_only() {
        async fn asked(values: &[&str]) -> Result<(), (u16, &'static str)> {
            let mut parts = headers(&header::IF_MATCH, values);
            let expected =
                <IfMatch as FromRequestParts<()>>::from_request_parts(&mut parts, &()).await;
            let held = expected.and_then(|expected| expected.check(&Tag::of_version(3)));
            held.map_err(|problem| (problem.status.as_u16(), problem.code))
        }
        for values in [
            &["\"3\""] as &[_],
            &["*"],
            &["\"2\", \"3\""],
            &["\"2\",,\"3\" "],
            &["\"2\"", "\"3\""],
        ] {
            assert_eq!(asked(values).await, Ok(()), "{values:?}");
        }
        for values in [
            &["\"2\""] as &[_],
            &["W/\"3\""],
            &["\"33\""],
            &["\"2,3\""],
            &["3"],
            &[""],
        ] {
            let refused = Err((412, "precondition_failed"));
            assert_eq!(asked(values).await, refused, "{values:?}");
        }
        assert_eq!(asked(&[]).await, Err((428, "precondition_required")));
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
            let mut parts = headers(&header::IF_NONE_MATCH, values);
            let known = IfNoneMatch::from_request_parts(&mut parts, &()).await;
            let response = known.unwrap().respond(Tag::of_version(3), "three");
            assert_eq!(response.status().as_u16(), status, "{values:?}");
            assert_eq!(response.headers()[header::ETAG], "\"3\"", "{values:?}");
        }
    }
}
