//! Errors on the wire: RFC 9457 `application/problem+json`, and never text from the inside.
//!
//! A handler returns `Result<_, Problem>`. `code` is what a client's program decides on; `title`
//! is for the person who reads its log.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::database::Refusal;
use super::edge::RequestId;

/// One error, as the client sees it.
#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub title: &'static str,
    /// The field of the body that it is about.
    field: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

/// One thing that is wrong with a request.
#[derive(Serialize)]
struct Fault {
    /// The place in the body, as a JSON pointer.
    pointer: String,
    detail: &'static str,
}

/// How long to stay away when the service cannot answer, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl Problem {
    pub const NOT_FOUND: Self =
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here");
    pub const METHOD_NOT_ALLOWED: Self = Self::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This resource does not take that method",
    );
    pub const TIMEOUT: Self = Self::new(
        StatusCode::GATEWAY_TIMEOUT,
        "timeout",
        "The request took too long",
    );
    pub const UNAVAILABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "The service cannot answer just now; try again",
    );
    pub const TAKEN: Self = Self::new(
        StatusCode::CONFLICT,
        "taken",
        "There is one of these already",
    );
    pub const RELATED: Self = Self::new(
        StatusCode::CONFLICT,
        "related",
        "It refers to something that is not there, or something refers to it",
    );
    pub const INVALID: Self = Self::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid",
        "A value is not what it must be",
    );
    pub const INTERNAL: Self = Self::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Something went wrong here",
    );

    /// The problem that a status stands for, where nothing more is known.
    fn of(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::BAD_REQUEST => "bad_request",
            StatusCode::REQUEST_TIMEOUT => "timeout",
            StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::UNPROCESSABLE_ENTITY => "unprocessable",
            status if status.is_client_error() => "refused",
            _ => "internal",
        };
        Self::new(status, code, status.canonical_reason().unwrap_or("Error"))
    }

    #[must_use]
    pub const fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self {
            status,
            code,
            title,
            field: None,
        }
    }

    /// The same problem, with the field that has caused it.
    #[must_use]
    pub fn about(mut self, field: Option<String>) -> Self {
        self.field = field;
        self
    }
}

/// The same answer, if it is none of an error or a problem already; or else the problem that its
/// status stands for. Its headers stay, such as the methods that are allowed.
pub fn in_place_of(response: Response) -> Response {
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == KIND);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, _) = response.into_parts();
    let mut problem = Problem::of(status).into_response();
    for (name, value) in parts.headers {
        if let Some(name) = name.filter(|name| !problem.headers().contains_key(name)) {
            problem.headers_mut().insert(name, value);
        }
    }
    // The length is that of another body.
    problem.headers_mut().remove(header::CONTENT_LENGTH);
    problem
}

const KIND: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            code: self.code,
            request_id: current(),
            errors: self
                .field
                .map(|field| Fault {
                    pointer: format!("/{}", field.replace('~', "~0").replace('/', "~1")),
                    detail: self.title,
                })
                .into_iter()
                .collect(),
        };
        let kind = HeaderValue::from_static(KIND);
        let mut response = (self.status, axum::Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// What the database says becomes an answer here, and nowhere else.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let refusal = Refusal::of(&error);
        let request_id = current();
        match refusal {
            Refusal::Unavailable | Refusal::TooSlow => {
                tracing::warn!(cause = %error, request_id, "database unavailable");
            }
            Refusal::Internal => tracing::error!(cause = %error, request_id, "database error"),
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
