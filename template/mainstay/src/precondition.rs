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
//! - A weak tag, `W/"…"`, never matches in `If-Match`.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use utoipa::IntoParams;

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

    /// The tag of a resource by the hash of its bytes. It is the same in all processes of one build.
    #[must_use]
    pub fn of_content(content: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Self(format!("\"{:016x}\"", hasher.finish()))
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfNoneMatch(Condition);

impl IfNoneMatch {
    /// The answer with its tag, or 304 if the client has this version.
    #[must_use]
    pub fn respond(&self, tag: Tag, answer: impl IntoResponse) -> Response {
        let is_known = match &self.0 {
            Condition::Any => true,
            Condition::OneOf(known) => known
                .iter()
                .any(|known| known.strip_prefix("W/").unwrap_or(known) == tag.0),
        };
        if is_known {
            (StatusCode::NOT_MODIFIED, tag, ()).into_response()
        } else {
            (tag, answer).into_response()
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    /// A malformed header matches nothing.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = Condition::from_headers(&parts.headers, &header::IF_NONE_MATCH);
        Ok(Self(
            known.ok().flatten().unwrap_or(Condition::OneOf(Vec::new())),
        ))
    }
}

/// The version that a change is about: an extractor for `If-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(Condition);

impl IfMatch {
    /// Matches every version, like `If-Match: *`.
    pub const ANY: Self = Self(Condition::Any);

    /// Checks that the request is about the current version.
    ///
    /// # Errors
    ///
    /// [`Problem::PRECONDITION_FAILED`] if it is about another one.
    pub fn check(&self, current: &Tag) -> Result<(), Problem> {
        match &self.0 {
            Condition::OneOf(tags) if !tags.contains(&current.0) => {
                let detail = format!("is not the current version, {}; read it first", current.0);
                Err(Problem::PRECONDITION_FAILED.with([fault(detail)]))
            }
            Condition::Any | Condition::OneOf(_) => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let given = <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        given.ok_or_else(|| {
            let detail = "is missing: send the ETag of the version to change, or * for any version";
            Problem::PRECONDITION_REQUIRED.with([fault(detail.to_owned())])
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        let given = Condition::from_headers(&parts.headers, &header::IF_MATCH);
        given.map(|given| given.map(Self)).map_err(|Malformed| {
            let detail = "must be * or a list of ETags in quotes";
            Problem::BAD_REQUEST.with([fault(detail.to_owned())])
        })
    }
}

fn fault(detail: String) -> Fault {
    Fault::in_header(header::IF_MATCH.as_str(), detail)
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// `*`
    Any,
    /// Entity tags as they were sent: in quotes, and with `W/` if they are weak.
    OneOf(Vec<String>),
}

struct Malformed;

impl Condition {
    fn from_headers(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Malformed> {
        let values = headers.get_all(name).iter().map(HeaderValue::to_str);
        let values: Vec<_> = values.collect::<Result<_, _>>().map_err(|_| Malformed)?;
        if values.is_empty() {
            return Ok(None);
        }
        Self::parse(&values.join(",")).map(Some).ok_or(Malformed)
    }

    fn parse(text: &str) -> Option<Self> {
        // A list may have empty elements.
        const SEPARATORS: [char; 3] = [' ', '\t', ','];
        if text.trim_matches([' ', '\t']) == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text.trim_start_matches(SEPARATORS);
        while !rest.is_empty() {
            let quoted = rest.strip_prefix("W/").unwrap_or(rest);
            let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
            if !opaque.bytes().all(|byte| byte.is_ascii_graphic()) {
                return None;
            }
            tags.push(rest[..rest.len() - after.len()].to_owned());
            rest = after.trim_start_matches(SEPARATORS);
            let separator = &after[..after.len() - rest.len()];
            if !rest.is_empty() && !separator.contains(',') {
                return None;
            }
        }
        (!tags.is_empty()).then_some(Self::OneOf(tags))
    }
}

/// Describes [`IfMatch`] in OpenAPI: `params(precondition::IfMatchHeader)`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes")]
pub struct IfMatchHeader {
    /// The `ETag` of the version to change, so that no other change is lost; or `*` for any version.
    #[param(
        rename = "if-match",
        pattern = r#"^(\*|"[!#-~]*"(, ?"[!#-~]*")*)$"#,
        example = "\"1\""
    )]
    tags: String,
}

/// Describes `Option<IfMatch>` in OpenAPI.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes")]
pub struct OptionalIfMatchHeader {
    /// The `ETag` of the version to change; or `*` for any version.
    #[param(
        rename = "if-match",
        value_type = String,
        required = false,
        pattern = r#"^(\*|"[!#-~]*"(, ?"[!#-~]*")*)$"#,
        example = "\"1\""
    )]
    tags: Option<String>,
}

/// Describes [`IfNoneMatch`] in OpenAPI.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes")]
pub struct IfNoneMatchHeader {
    /// The `ETag` of the version that the client has. If it is the current one, the answer is 304, without a body.
    #[param(rename = "if-none-match", value_type = String, required = false)]
    tags: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_entity_tags_is_parsed_or_refused() {
        for (text, tags) in [
            ("\"1\"", &["\"1\""] as &[_]),
            ("\"1\", \"2\"", &["\"1\"", "\"2\""]),
            ("\"1\",W/\"2\" ,, \"\"", &["\"1\"", "W/\"2\"", "\"\""]),
            ("\"a,b\"", &["\"a,b\""]),
        ] {
            let tags = tags.iter().map(ToString::to_string).collect();
            assert_eq!(
                Condition::parse(text),
                Some(Condition::OneOf(tags)),
                "{text}"
            );
        }
        for any in ["*", " * "] {
            assert_eq!(Condition::parse(any), Some(Condition::Any));
        }
        for text in [
            "",
            ",",
            "1",
            "\"1",
            "1\"",
            "\"1\" \"2\"",
            "w/\"1\"",
            "\"a b\"",
            "*, \"1\"",
        ] {
            assert_eq!(Condition::parse(text), None, "{text}");
        }
    }

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
            &["\"2\"", "\"3\""],
        ] {
            assert_eq!(asked(values).await, Ok(()), "{values:?}");
        }
        for values in [&["\"2\""] as &[_], &["W/\"3\""], &["\"33\""]] {
            assert_eq!(
                asked(values).await,
                Err((412, "precondition_failed")),
                "{values:?}"
            );
        }
        assert_eq!(asked(&[]).await, Err((428, "precondition_required")));
        for values in [&["3"] as &[_], &[""], &["*", "\"3\""]] {
            assert_eq!(asked(values).await, Err((400, "bad_request")), "{values:?}");
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
            let mut parts = headers(&header::IF_NONE_MATCH, values);
            let known = IfNoneMatch::from_request_parts(&mut parts, &()).await;
            let response = known.unwrap().respond(Tag::of_version(3), "three");
            assert_eq!(response.status().as_u16(), status, "{values:?}");
            assert_eq!(response.headers()[header::ETAG], "\"3\"", "{values:?}");
        }
    }
}
