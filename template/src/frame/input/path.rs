//! The parts of a path that a route has names for.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::frame::problem::{Fault, Problem};

/// The parameters of a path: one value, a tuple, or a struct with their names.
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

/// A path that cannot be is one where nothing is; and one that is no text at all is none.
fn refuse(error: ErrorKind, only: Option<String>) -> Problem {
    let name = match error {
        ErrorKind::ParseErrorAtKey { key, .. }
        | ErrorKind::InvalidUtf8InPathParam { key }
        | ErrorKind::DeserializeError { key, .. } => Some(key),
        ErrorKind::ParseError { .. } | ErrorKind::ParseErrorAtIndex { .. } => only,
        // A route that does not fit its handler.
        _ => return Problem::INTERNAL,
    };
    let words = "is not what it must be";
    Problem::BAD_REQUEST.with(name.map(|name| Fault::of(name, words)))
}
