//! Parameters of the path.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

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
        // It knows how; only what it says when it cannot is not for outsiders.
        #[expect(clippy::disallowed_types)]
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        match path.map(|path| path.0) {
            Ok(value) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                let known = RawPathParams::from_request_parts(parts, state).await;
                let only = known.ok().and_then(|known| {
                    let mut names = known.iter().map(|(name, _)| name.to_owned());
                    names.next().filter(|_| names.next().is_none())
                });
                Err(refuse(error.into_kind(), only))
            }
            Err(_) => Err(Problem::INTERNAL),
        }
    }
}

/// What is wrong with a path, by its parameter if that can be told.
fn refuse(error: ErrorKind, only: Option<String>) -> Problem {
    let name = match error {
        ErrorKind::ParseErrorAtKey { key, .. }
        | ErrorKind::InvalidUtf8InPathParam { key }
        | ErrorKind::DeserializeError { key, .. } => Some(key),
        ErrorKind::ParseError { .. }
        | ErrorKind::ParseErrorAtIndex { .. }
        | ErrorKind::Message(_) => only,
        // A route that does not fit its handler.
        _ => return Problem::INTERNAL,
    };
    let words = "is not valid";
    Problem::BAD_REQUEST.with(name.map(|name| Fault::in_parameter(name, words)))
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

    /// The status of an answer for this path, and the parameter that it is about.
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
        let parameter = &problem["errors"][0]["parameter"];
        (
            parts.status.as_u16(),
            parameter.as_str().unwrap_or_default().to_owned(),
        )
    }

    #[tokio::test]
    async fn malformed_path_parameter_is_named() {
        for (path, status, parameter) in [
            ("/number/7", 200, ""),
            ("/number/seven", 400, "id"),
            ("/number/99999999999999999999", 400, "id"),
            ("/number/%ff", 400, "id"),
            ("/color/red", 200, ""),
            ("/color/mauve", 400, "color"),
            ("/two/1/2", 200, ""),
            ("/two/1/300", 400, ""),
        ] {
            assert_eq!(asked(path).await, (status, parameter.to_owned()), "{path}");
        }
    }
}
