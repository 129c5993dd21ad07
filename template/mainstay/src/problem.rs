//! Errors on the wire: RFC 9457 `application/problem+json`, without internal text.
//!
//! A handler returns `Result<_, Problem>`. The `code` is for programs, the `title` for people, and `errors` name the
//! wrong places in the request.

use std::borrow::Cow;

use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::RequestId;
#[cfg(feature = "_database")]
use crate::database::{ErrorKind, log_safe_message};

/// An error, as the client sees it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// The error for programs. It never changes.
    pub code: &'static str,
    /// The error for people.
    pub title: &'static str,
    errors: Vec<Fault>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// A wrong place in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProblemFault)]
pub struct Fault {
    #[serde(flatten)]
    place: Place,
    /// What is wrong, for people.
    detail: Cow<'static, str>,
}

/// The place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProblemPlace)]
#[serde(rename_all = "lowercase")]
enum Place {
    /// A JSON pointer into the body.
    Pointer(String),
    /// A parameter of the path or the query.
    Parameter(String),
    /// The name of a header.
    Header(String),
}

/// The most faults that one answer names.
pub const MAX_FAULTS: usize = 100;

impl Fault {
    /// A fault in the body, at this JSON pointer.
    pub fn in_body(pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::at(Place::Pointer(pointer.into()), detail)
    }

    /// A fault in a parameter of the path or the query.
    pub fn in_parameter(name: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::at(Place::Parameter(name.into()), detail)
    }

    /// A fault in a header.
    pub fn in_header(name: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::at(Place::Header(name.into()), detail)
    }

    fn at(place: Place, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self { place, detail }
    }
}

/// Appends a name to a JSON pointer.
#[must_use]
pub fn pointer(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

macro_rules! problems {
    ($($name:ident: $status:ident $code:literal $title:literal,)+) => {
        impl Problem {
            $(
                #[doc = concat!("`", $code, "`: ", $title, ".")]
                pub const $name: Self = Self::new(StatusCode::$status, $code, $title);
            )+
        }

        /// The first of each status is the problem of an answer that has only this status.
        const PROBLEMS: &[Problem] = &[$(Problem::$name),+];
    };
}

problems! {
    BAD_REQUEST: BAD_REQUEST "bad_request" "Malformed request",
    NOT_FOUND: NOT_FOUND "not_found" "Not found",
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED "method_not_allowed" "Method not allowed",
    TOO_SLOW: REQUEST_TIMEOUT "request_timeout" "The request did not arrive in time",
    PRECONDITION_FAILED: PRECONDITION_FAILED "precondition_failed" "The resource has another version",
    PRECONDITION_REQUIRED: PRECONDITION_REQUIRED "precondition_required" "The request must name the version of the resource",
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE "body_too_large" "The body is too large",
    HEAD_TOO_LARGE: REQUEST_HEADER_FIELDS_TOO_LARGE "head_too_large" "The header of the request is too large",
    URI_TOO_LONG: URI_TOO_LONG "uri_too_long" "The URI is too long",
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "Unsupported media type",
    INVALID: UNPROCESSABLE_ENTITY "invalid" "Invalid value",
    TOO_MANY_REQUESTS: TOO_MANY_REQUESTS "too_many_requests" "Too many requests; retry later",
    UNAVAILABLE: SERVICE_UNAVAILABLE "unavailable" "Service unavailable; retry later",
    TIMEOUT: GATEWAY_TIMEOUT "timeout" "The request took too long",
    TAKEN: CONFLICT "taken" "Already exists",
    RELATED: CONFLICT "related" "Conflicts with a related resource",
    MISDIRECTED: MISDIRECTED_REQUEST "misdirected" "This host is not served here",
    CROSS_ORIGIN: FORBIDDEN "cross_origin" "Cross-origin request refused",
    INTERNAL: INTERNAL_SERVER_ERROR "internal" "Internal error",
    OVERLOADED: SERVICE_UNAVAILABLE "overloaded" "Service overloaded; retry later",
    KEY_MISSING: BAD_REQUEST "idempotency_key_missing" "An idempotency key is required",
    KEY_MALFORMED: BAD_REQUEST "idempotency_key_malformed" "The idempotency key is not valid",
    KEY_IN_USE: CONFLICT "idempotency_key_in_use" "A request with this idempotency key is in progress; retry later",
    KEY_REUSED: UNPROCESSABLE_ENTITY "idempotency_key_reused" "This idempotency key belongs to another request",
}

impl Problem {
    /// A problem of the service's own. `code` must never change.
    #[must_use]
    pub const fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self {
            status,
            code,
            title,
            errors: Vec::new(),
            header: None,
        }
    }

    /// Adds wrong places in the request, up to [`MAX_FAULTS`].
    #[must_use]
    pub fn with(mut self, errors: impl IntoIterator<Item = Fault>) -> Self {
        let room = MAX_FAULTS.saturating_sub(self.errors.len());
        self.errors.extend(errors.into_iter().take(room));
        self
    }

    /// Sets a header of the answer, such as `Retry-After`.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// The general problem for a status.
    pub(crate) fn of(status: StatusCode) -> Self {
        // A conflict or a refusal is of a kind that only its own part knows.
        let has_kinds = [StatusCode::CONFLICT, StatusCode::FORBIDDEN].contains(&status);
        let mut problems = PROBLEMS.iter();
        let known = problems.find(|problem| problem.status == status && !has_kinds);
        match known {
            Some(problem) => problem.clone(),
            None if status.is_client_error() => {
                let title = status.canonical_reason().unwrap_or("Refused");
                Self::new(status, "refused", title)
            }
            None => Self::new(status, Self::INTERNAL.code, Self::INTERNAL.title),
        }
    }
}

/// Turns an error response without a problem into the problem for its status. Headers such as `Allow` stay.
pub(crate) fn into_problem_response(mut response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE);
    let is_problem = kind.is_some_and(|kind| kind == KIND);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let mut problem = Problem::of(status).into_response();
    let headers = response.headers_mut();
    for of_old_body in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
        headers.remove(of_old_body);
    }
    problem.headers_mut().extend(std::mem::take(headers));
    *problem.extensions_mut() = std::mem::take(response.extensions_mut());
    problem
}

pub(crate) const KIND: &str = "application/problem+json";

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// Always `about:blank`. Use `code` instead.
    r#type: &'static str,
    /// The error, for people.
    title: &'a str,
    /// The status code of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The error, for programs. It never changes.
    code: &'a str,
    /// The id of the request in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    request_id: Option<String>,
    /// The places in the request that are wrong.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [Fault],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = axum::Json(Body {
            r#type: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            code: self.code,
            request_id: request_id(),
            errors: &self.errors,
        });
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(KIND));
        if matches!(self.status.as_u16(), 429 | 503) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some((name, value)) = self.header.map(|header| *header) {
            headers.insert(name, value);
        }
        response
    }
}

/// The only place that turns an error of the database into a problem. Unexpected errors are logged.
#[cfg(feature = "_database")]
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let (cause, request_id) = (log_safe_message(&error), request_id());
        let in_field = |problem: Self, field: Option<String>| {
            let title = problem.title;
            problem.with(field.map(|field| Fault::in_body(pointer("", &field), title)))
        };
        match ErrorKind::of(&error) {
            ErrorKind::NotFound => Self::NOT_FOUND,
            ErrorKind::AlreadyExists(field) => in_field(Self::TAKEN, field),
            ErrorKind::Reference(field) => in_field(Self::RELATED, field),
            ErrorKind::Invalid(field) => in_field(Self::INVALID, field),
            ErrorKind::Unavailable | ErrorKind::Timeout => {
                tracing::warn!(cause, request_id, "database unavailable");
                Self::UNAVAILABLE
            }
            ErrorKind::Internal => {
                tracing::error!(cause, request_id, "database error");
                Self::INTERNAL
            }
        }
    }
}

fn request_id() -> Option<String> {
    RequestId::current().map(|id| id.as_str().to_owned())
}
