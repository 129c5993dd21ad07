//! Parameters of the path.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::{NOT_VALID, OUT_OF_RANGE, must_be};
use crate::problem::{Fault, Problem};

/// The parameters of the path: one value, a tuple, or a struct with their names.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[expect(clippy::disallowed_types, reason = "its errors are replaced")]
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        match path.map(|path| path.0) {
            Ok(value) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                let given = RawPathParams::from_request_parts(parts, state).await;
                let names = given.iter().flatten().map(|(name, _)| name.to_owned());
                Err(refuse(error.into_kind(), names.collect()))
            }
            Err(_) => Err(Problem::INTERNAL),
        }
    }
}

/// The problem of a path whose route has parameters of these names, in their order.
fn refuse(error: ErrorKind, mut names: Vec<String>) -> Problem {
    let only = |names: &mut Vec<String>| names.pop().filter(|_| names.is_empty());
    let (name, detail) = match error {
        ErrorKind::ParseErrorAtKey {
            key,
            value,
            expected_type,
        } => (Some(key), parse_error(&value, expected_type)),
        ErrorKind::ParseErrorAtIndex {
            index,
            value,
            expected_type,
        } => {
            let name = names.into_iter().nth(index);
            (name, parse_error(&value, expected_type))
        }
        ErrorKind::ParseError {
            value,
            expected_type,
        } => (only(&mut names), parse_error(&value, expected_type)),
        ErrorKind::InvalidUtf8InPathParam { key } => (Some(key), "must be UTF-8"),
        ErrorKind::DeserializeError { key, .. } => (Some(key), NOT_VALID),
        ErrorKind::Message(_) => (only(&mut names), NOT_VALID),
        // The route does not fit its handler.
        _ => return Problem::INTERNAL,
    };
    Problem::BAD_REQUEST.with(name.map(|name| Fault::in_parameter(name, detail)))
}

fn parse_error(value: &str, expected: &str) -> &'static str {
    let detail = must_be(expected);
    if detail == must_be("i64") && value.parse::<i128>().is_ok() {
        OUT_OF_RANGE
    } else {
        detail
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use serde::Deserialize;
    use tower::ServiceExt;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
    }

    /// The status of an answer for this path, and its fault.
    async fn asked(path: &str) -> (u16, String) {
        let routes = Router::new()
            .route("/number/{id}", get(async |Path(_): Path<i64>| ()))
            .route(
                "/color/{color}",
                get(async |Path(Color::Red): Path<Color>| ()),
            )
            .route("/two/{a}/{b}", get(async |Path(_): Path<(u8, u8)>| ()));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (parts, body) = routes.oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 10_000).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |key| problem["errors"][0][key].as_str().unwrap_or_default();
        let fault = format!("{} {}", text("parameter"), text("detail"));
        (parts.status.as_u16(), fault.trim().to_owned())
    }

    #[tokio::test]
    async fn malformed_path_parameter_is_named() {
        for (path, status, fault) in [
            ("/number/7", 200, ""),
            ("/number/seven", 400, "id must be a whole number"),
            ("/number/99999999999999999999", 400, "id is out of range"),
            ("/number/%ff", 400, "id must be UTF-8"),
            ("/color/red", 200, ""),
            ("/color/mauve", 400, "color is not valid"),
            ("/two/1/2", 200, ""),
            ("/two/1/300", 400, "b is out of range"),
        ] {
            assert_eq!(asked(path).await, (status, fault.to_owned()), "{path}");
        }
    }
}
