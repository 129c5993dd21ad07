//! A stored answer.

use std::io::Write;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::REPLAYED;
use crate::problem::Problem;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Headers that are not stored: they belong to one connection or one moment. A cookie is a secret.
const NOT_STORED: [HeaderName; 5] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::SET_COOKIE,
    header::TRANSFER_ENCODING,
];

/// Whether a retry would get the same answer: it is neither a failure of the server nor asks for a retry.
pub(super) fn is_final(status: StatusCode) -> bool {
    const RETRY: [StatusCode; 3] = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !RETRY.contains(&status)
}

/// Whether the work takes effect.
pub(super) fn is_success(status: StatusCode) -> bool {
    !status.is_client_error() && !status.is_server_error()
}

impl Answer {
    /// The answer to store, and the response itself. Fails if they are larger than `limit`, with headers.
    pub(super) async fn from_response(
        response: Response,
        limit: usize,
    ) -> Result<(Self, Response), Problem> {
        let too_large = || {
            tracing::error!(
                limit,
                "an answer is too large to be stored (idempotency.answer_limit)"
            );
            Problem::INTERNAL
        };
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, limit).await;
        let body = body.map_err(|_| too_large())?;
        let mut headers = parts.headers.clone();
        for name in NOT_STORED {
            headers.remove(name);
        }
        let answer = Self {
            status: parts.status,
            headers,
            body: body.clone(),
        };
        if answer.head().len() + body.len() > limit {
            return Err(too_large());
        }
        Ok((answer, Response::from_parts(parts, Body::from(body))))
    }

    /// The headers, one a line. No value contains a line break.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        for (name, value) in &self.headers {
            // Writing to memory does not fail.
            _ = write!(head, "{name}:");
            head.extend_from_slice(value.as_bytes());
            head.push(b'\n');
        }
        head
    }

    /// The answer in a row of the table; `None` if it is malformed.
    pub(super) fn parse(status: i32, head: &[u8], body: Vec<u8>) -> Option<Self> {
        let status = StatusCode::from_u16(u16::try_from(status).ok()?).ok()?;
        let mut headers = HeaderMap::new();
        for line in head.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n")?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            headers.append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
        }
        Some(Self {
            status,
            headers,
            body: body.into(),
        })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, yes);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> Response {
        let mut response = (StatusCode::CREATED, "made").into_response();
        for (name, value) in [
            ("location", "/things/1"),
            ("x-odd", ": a:b "),
            ("link", "one"),
            ("link", "two"),
            ("set-cookie", "secret"),
            ("connection", "close"),
        ] {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            response.headers_mut().append(name, value);
        }
        let opaque = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
        response.headers_mut().append("x-opaque", opaque);
        response
    }

    #[tokio::test]
    async fn answer_is_unchanged_after_it_was_stored() {
        let (answer, _) = Answer::from_response(response(), 1000).await.unwrap();
        let kept = Answer::parse(201, &answer.head(), answer.body.to_vec());
        assert_eq!(kept.as_ref(), Some(&answer));

        let again = kept.unwrap().into_response();
        assert_eq!(again.status(), StatusCode::CREATED);
        for (name, expected) in [
            ("location", &["/things/1"] as &[_]),
            ("link", &["one", "two"]),
            ("content-type", &["text/plain; charset=utf-8"]),
            ("idempotent-replayed", &["true"]),
            ("set-cookie", &[]),
            ("connection", &[]),
        ] {
            let values = again.headers().get_all(name).iter();
            let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
            assert_eq!(values, expected, "{name}");
        }
        assert_eq!(again.headers()["x-opaque"].as_bytes(), b"\xff\xfe");
    }

    #[tokio::test]
    async fn first_response_has_all_headers() {
        let (_, first) = Answer::from_response(response(), 1000).await.unwrap();
        assert_eq!(first.headers()["set-cookie"], "secret");
        assert!(!first.headers().contains_key(REPLAYED));
        let body = axum::body::to_bytes(first.into_body(), 1000).await;
        assert_eq!(body.unwrap(), "made");
    }

    #[tokio::test]
    async fn answer_over_the_limit_is_refused() {
        let (answer, _) = Answer::from_response(response(), 1000).await.unwrap();
        let length = answer.head().len() + answer.body.len();
        assert!(Answer::from_response(response(), length).await.is_ok());
        for limit in [length - 1, 3, 0] {
            let refused = Answer::from_response(response(), limit).await.unwrap_err();
            assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR, "{limit}");
        }
    }

    #[test]
    fn answer_is_final_unless_it_asks_for_a_retry() {
        for (status, ends, done) in [
            (200, true, true),
            (201, true, true),
            (303, true, true),
            (404, true, false),
            (409, true, false),
            (422, true, false),
            (408, false, false),
            (425, false, false),
            (429, false, false),
            (500, false, false),
            (503, false, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                (is_final(status), is_success(status)),
                (ends, done),
                "{status}"
            );
        }
    }
}
