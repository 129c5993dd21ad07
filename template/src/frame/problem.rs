//! Errors on the wire: RFC 9457 `application/problem+json`, and never text from the inside.
//!
//! A handler returns `Result<_, Problem>`. `code` is what a client's program decides on; `title`
//! is for the person who reads its log.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::edge::RequestId;

/// One error, as the client sees it.
#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub title: &'static str,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

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
    pub const INTERNAL: Self = Self::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Something went wrong here",
    );

    #[must_use]
    pub const fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self {
            status,
            code,
            title,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            code: self.code,
            request_id: RequestId::current().map(|id| id.to_string()),
        };
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, axum::Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// What the database says becomes an answer here, and nowhere else.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::RowNotFound => Self::NOT_FOUND,
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "database unavailable"
                );
                Self::UNAVAILABLE
            }
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "database error");
                Self::INTERNAL
            }
        }
    }
}
