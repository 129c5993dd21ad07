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

/// The version of a resource, in the header `ETag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The tag of a resource that counts its versions.
    #[must_use]
    pub fn of_version(version: i64) -> Self {
        Self(version.to_string())
    }

    /// The tag of a resource by the hash of its bytes. It is the same in all processes of one build.
    #[must_use]
    pub fn of_content(content: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Self(format!("{:016x}", hasher.finish()))
    }

    fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("\"{}\"", self.0)).ok()
    }
}

impl IntoResponseParts for Tag {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        let tag = self.header().map(|tag| (header::ETAG, tag));
        parts.headers_mut().extend(tag);
        Ok(parts)
    }
}

/// The versions that a client has already: an extractor for `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfNoneMatch(Condition);

impl IfNoneMatch {
    /// Reads the header. A malformed one matches nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let known = Condition::of(headers, &header::IF_NONE_MATCH);
        let known = known.ok().flatten();
        Self(known.unwrap_or(Condition::OneOf(Vec::new())))
    }

    /// The answer with its tag, or 304 if the client has this version.
    #[must_use]
    pub fn respond(&self, tag: Tag, answer: impl IntoResponse) -> Response {
        let is_known = match &self.0 {
            Condition::Any => true,
            Condition::OneOf(known) => known.iter().any(|known| known.text == tag.0),
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

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
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
        let is_meant = |tag: &Known| !tag.is_weak && tag.text == current.0;
        match &self.0 {
            Condition::Any => Ok(()),
            Condition::OneOf(tags) if tags.iter().any(is_meant) => Ok(()),
            Condition::OneOf(_) => {
                let words = format!(
                    "is not the current version, \"{}\"; read it first",
                    current.0
                );
                Err(Problem::PRECONDITION_FAILED.with([about(words)]))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let given = <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        given.ok_or_else(|| {
            let words = "is missing: send the ETag of the version to change, or * for any version";
            Problem::PRECONDITION_REQUIRED.with([about(words.to_owned())])
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        let given = Condition::of(&parts.headers, &header::IF_MATCH);
        given.map(|given| given.map(Self)).map_err(|Malformed| {
            let words = "must be * or a list of ETags in quotes";
            Problem::BAD_REQUEST.with([about(words.to_owned())])
        })
    }
}

fn about(words: String) -> Fault {
    Fault::in_header(header::IF_MATCH.as_str(), words)
}

/// What stands in such a header.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// `*`: whatever there is.
    Any,
    OneOf(Vec<Known>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    is_weak: bool,
    text: String,
}

/// It cannot be understood.
struct Malformed;

impl Condition {
    /// What is in this header, if it is there.
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Malformed> {
        let values = headers.get_all(name).iter().map(HeaderValue::to_str);
        let values: Vec<_> = values.collect::<Result<_, _>>().map_err(|_| Malformed)?;
        if values.is_empty() {
            return Ok(None);
        }
        let condition = Self::read(&values.join(","));
        condition.map(Some).ok_or(Malformed)
    }

    fn read(text: &str) -> Option<Self> {
        let blank = [' ', '\t'];
        if text.trim_matches(blank) == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut left = text;
        loop {
            // A list may have empty elements.
            left = left.trim_start_matches([' ', '\t', ',']);
            if left.is_empty() {
                return (!tags.is_empty()).then_some(Self::OneOf(tags));
            }
            let strong = left.strip_prefix("W/");
            let (text, rest) = strong.unwrap_or(left).strip_prefix('"')?.split_once('"')?;
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return None;
            }
            tags.push(Known {
                is_weak: strong.is_some(),
                text: text.to_owned(),
            });
            left = rest.trim_start_matches(blank);
            if !left.is_empty() && !left.starts_with(',') {
                return None;
            }
        }
    }
}

/// Describes [`IfMatch`] in OpenAPI: `params(precondition::IfMatchHeader)`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only what is said of it counts")]
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
#[expect(dead_code, reason = "only what is said of it counts")]
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
#[expect(dead_code, reason = "only what is said of it counts")]
pub struct IfNoneMatchHeader {
    /// The `ETag` of the version that the client has. If it is the current one, the answer is 304, without a body.
    #[param(rename = "if-none-match", value_type = String, required = false)]
    tags: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<String>> {
        match Condition::read(text)? {
            Condition::Any => Some(vec!["*".to_owned()]),
            Condition::OneOf(tags) => Some(
                tags.iter()
                    .map(|tag| format!("{}{}", if tag.is_weak { "W/" } else { "" }, tag.text))
                    .collect(),
            ),
        }
    }

    #[test]
    fn a_list_of_tags_is_read_as_it_is_meant() {
        for (text, tags) in [
            ("*", &["*"] as &[_]),
            (" * ", &["*"]),
            ("\"1\"", &["1"]),
            ("\"1\", \"2\"", &["1", "2"]),
            ("\"1\",W/\"2\" ,, \"\"", &["1", "W/2", ""]),
            ("\"a,b\"", &["a,b"]),
        ] {
            assert_eq!(
                read(text).as_deref(),
                Some(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
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
            assert_eq!(read(text), None, "{text}");
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
    async fn a_change_is_about_the_version_that_is_named_and_no_other() {
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

    #[test]
    fn whoever_knows_a_version_is_not_sent_it_again() {
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
            let known = IfNoneMatch::of(&headers(&header::IF_NONE_MATCH, values).headers);
            let response = known.respond(Tag::of_version(3), "three");
            assert_eq!(response.status().as_u16(), status, "{values:?}");
            assert_eq!(response.headers()[header::ETAG], "\"3\"", "{values:?}");
        }
    }
}
