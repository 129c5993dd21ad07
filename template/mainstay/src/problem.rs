//! Errors on the wire: RFC 9457 `application/problem+json`, and never text from the inside.
//!
//! A handler returns `Result<_, Problem>`. `code` is what a client's program decides on; `title`
//! is for the person who reads its log; `errors` are the places in the request that it is about.

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::RequestId;
#[cfg(feature = "_database")]
use crate::database::{Refusal, log_safe_message};

/// One error, as the client sees it.
#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub title: &'static str,
    errors: Vec<Fault>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProblemFault)]
pub struct Fault {
    #[serde(flatten)]
    place: Place,
    /// What is wrong there, for people.
    detail: Cow<'static, str>,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProblemPlace)]
#[serde(rename_all = "lowercase")]
enum Place {
    /// In the body, as a JSON pointer.
    Pointer(String),
    /// In the path or the query.
    Parameter(String),
    /// By its name.
    Header(String),
}

/// How many faults of one request are told. Whoever sends more of them has no use for the rest.
pub const MOST_FAULTS: usize = 100;

/// How long the name of a place can be, in bytes, until it is cut off.
const LONGEST_PLACE: usize = 512;

impl Fault {
    /// In the body, at this JSON pointer.
    pub fn at(pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        let place = Place::Pointer(cut(pointer.into()));
        let detail = detail.into();
        Self { place, detail }
    }

    /// In a parameter of the path or the query.
    pub fn of(parameter: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        let place = Place::Parameter(cut(parameter.into()));
        let detail = detail.into();
        Self { place, detail }
    }

    /// In a header.
    pub fn in_header(name: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        let place = Place::Header(cut(name.into()));
        let detail = detail.into();
        Self { place, detail }
    }
}

fn cut(mut name: String) -> String {
    if name.len() > LONGEST_PLACE {
        name.truncate(name.floor_char_boundary(LONGEST_PLACE));
        name.shrink_to_fit();
    }
    name
}

/// The place below another one, as a JSON pointer.
#[must_use]
pub fn pointer(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// How long to stay away when the service cannot answer, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

macro_rules! problems {
    ($($name:ident: $status:ident $code:literal $title:literal,)+) => {
        impl Problem {
            $(pub const $name: Self = Self::new(StatusCode::$status, $code, $title);)+
        }
    };
}

problems! {
    BAD_REQUEST: BAD_REQUEST "bad_request" "The request is not what it must be",
    NOT_FOUND: NOT_FOUND "not_found" "There is nothing here",
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED "method_not_allowed" "This resource does not take that method",
    TOO_SLOW: REQUEST_TIMEOUT "request_timeout" "The request did not arrive in time",
    TAKEN: CONFLICT "taken" "There is one of these already",
    RELATED: CONFLICT "related" "It refers to something that is not there, or something refers to it",
    PRECONDITION_FAILED: PRECONDITION_FAILED "precondition_failed" "There is another version of it by now",
    PRECONDITION_REQUIRED: PRECONDITION_REQUIRED "precondition_required" "A request like this must say which version it is about",
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE "body_too_large" "The body is larger than this service takes",
    HEAD_TOO_LARGE: REQUEST_HEADER_FIELDS_TOO_LARGE "head_too_large" "The head of the request is larger than this service takes",
    URI_TOO_LONG: URI_TOO_LONG "uri_too_long" "The address is longer than this service takes",
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body is of a kind that is not taken here",
    MISDIRECTED: MISDIRECTED_REQUEST "misdirected" "This is not the host that was asked for",
    INVALID: UNPROCESSABLE_ENTITY "invalid" "A value is not what it must be",
    TOO_MANY_REQUESTS: TOO_MANY_REQUESTS "too_many_requests" "That was too often; try again later",
    CROSS_ORIGIN: FORBIDDEN "cross_origin" "A page from elsewhere must not ask for that",
    INTERNAL: INTERNAL_SERVER_ERROR "internal" "Something went wrong here",
    UNAVAILABLE: SERVICE_UNAVAILABLE "unavailable" "The service cannot answer just now; try again",
    OVERLOADED: SERVICE_UNAVAILABLE "overloaded" "There is too much to do just now; try again",
    TIMEOUT: GATEWAY_TIMEOUT "timeout" "The request took too long",
}

impl Problem {
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

    /// The same problem, with the places that it is about: with the first of very many.
    #[must_use]
    pub fn with(mut self, errors: impl IntoIterator<Item = Fault>) -> Self {
        let room = MOST_FAULTS.saturating_sub(self.errors.len());
        self.errors.extend(errors.into_iter().take(room));
        self
    }

    /// The same problem, with the field of the body that it is about.
    #[must_use]
    pub fn about(self, field: Option<String>) -> Self {
        let title = self.title;
        self.with(field.map(|field| Fault::at(pointer("", &field), title)))
    }

    /// The same problem, with a header that tells what would help.
    #[must_use]
    pub fn and_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    fn body(&self, request_id: Option<String>) -> Body<'_> {
        Body {
            r#type: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            code: self.code,
            request_id,
            errors: &self.errors,
        }
    }

    /// The problem that a status stands for, where nothing more is known.
    pub(crate) fn of(status: StatusCode) -> Self {
        let known = match status {
            StatusCode::BAD_REQUEST => Self::BAD_REQUEST,
            StatusCode::NOT_FOUND => Self::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED => Self::METHOD_NOT_ALLOWED,
            StatusCode::REQUEST_TIMEOUT => Self::TOO_SLOW,
            StatusCode::PRECONDITION_FAILED => Self::PRECONDITION_FAILED,
            StatusCode::PRECONDITION_REQUIRED => Self::PRECONDITION_REQUIRED,
            StatusCode::PAYLOAD_TOO_LARGE => Self::BODY_TOO_LARGE,
            StatusCode::URI_TOO_LONG => Self::URI_TOO_LONG,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::HEAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY => Self::INVALID,
            StatusCode::TOO_MANY_REQUESTS => Self::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE => Self::UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT => Self::TIMEOUT,
            status if status.is_client_error() => {
                let title = status.canonical_reason().unwrap_or("Refused");
                Self::new(status, "refused", title)
            }
            _ => Self::INTERNAL,
        };
        Self { status, ..known }
    }
}

/// The same answer, if it is none of an error or a problem already; or else the problem that its
/// status stands for. Its headers stay, such as the methods that are allowed.
#[must_use]
pub fn into_problem_response(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_problem(&response) {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    // They are about another body.
    for about in [header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
        parts.headers.remove(about);
    }
    let (problem, body) = Problem::of(status).into_response().into_parts();
    for (name, value) in &problem.headers {
        if name == header::CONTENT_TYPE || !parts.headers.contains_key(name) {
            parts.headers.insert(name, value.clone());
        }
    }
    Response::from_parts(parts, body)
}

fn is_problem(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind == KIND)
}

pub(crate) const KIND: &str = "application/problem+json";

/// Why a request was not answered as it was meant (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// Always `about:blank`: what there is to know is in `code`.
    r#type: &'static str,
    /// What happened, for people.
    title: &'a str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, for programs: it stays as it is.
    code: &'a str,
    /// What the request is called in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    request_id: Option<String>,
    /// What is wrong with the request, each with its place.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [Fault],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = axum::Json(self.body(current()));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
        if matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Some((name, value)) = self.header.map(|header| *header) {
            headers.insert(name, value);
        }
        response
    }
}

/// What the database says becomes an answer here, and nowhere else.
#[cfg(feature = "_database")]
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let refusal = Refusal::of(&error);
        let request_id = current();
        match refusal {
            Refusal::Unavailable | Refusal::TooSlow => {
                tracing::warn!(
                    cause = log_safe_message(&error),
                    request_id,
                    "database unavailable"
                );
            }
            Refusal::Internal => {
                tracing::error!(
                    cause = log_safe_message(&error),
                    request_id,
                    "database error"
                );
            }
            _ => {}
        }
        match refusal {
            Refusal::NotFound => Self::NOT_FOUND,
            Refusal::Unavailable | Refusal::TooSlow => Self::UNAVAILABLE,
            Refusal::Taken { field } => Self::TAKEN.about(field),
            Refusal::Related { field } => Self::RELATED.about(field),
            Refusal::Invalid { field } => Self::INVALID.about(field),
            Refusal::Internal => Self::INTERNAL,
        }
    }
}

/// The id of the request at hand, if there is one.
fn current() -> Option<String> {
    RequestId::current().map(|id| id.to_string())
}
