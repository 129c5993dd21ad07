//! Parameters of the path and of the query.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use garde::Validate;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::{FaultAt, OUT_OF_RANGE, WHOLE_NUMBER, deserialize, detail, must_be, valid};
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
                Err(refuse(error.kind(), &names.collect::<Vec<_>>()))
            }
            Err(_) => Err(Problem::INTERNAL),
        }
    }
}

/// The problem of a path whose route has parameters of these names, in their order.
fn refuse(error: &ErrorKind, names: &[String]) -> Problem {
    let only = names.first().filter(|_| names.len() == 1);
    let (name, value, expected_type) = match error {
        ErrorKind::ParseErrorAtKey {
            key,
            value,
            expected_type,
        } => (Some(key), &**value, *expected_type),
        ErrorKind::ParseErrorAtIndex {
            index,
            value,
            expected_type,
        } => (names.get(*index), &**value, *expected_type),
        ErrorKind::ParseError {
            value,
            expected_type,
        } => (only, &**value, *expected_type),
        ErrorKind::InvalidUtf8InPathParam { key } | ErrorKind::DeserializeError { key, .. } => {
            (Some(key), "", "")
        }
        ErrorKind::Message(_) => (only, "", ""),
        // The route does not fit its handler.
        _ => return Problem::INTERNAL,
    };
    let detail = match must_be(expected_type) {
        WHOLE_NUMBER if value.parse::<i128>().is_ok() => OUT_OF_RANGE,
        detail => detail,
    };
    Problem::BAD_REQUEST.with(name.map(|name| Fault::in_parameter(name, detail)))
}

/// The parameters of the query, valid by the rules of the type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + Validate<Context: Default>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse<T>(query: &str) -> Result<T, Problem>
where
    T: DeserializeOwned + Validate<Context: Default>,
{
    let fault: FaultAt = |place, detail| Fault::in_parameter(place.trim_start_matches('/'), detail);
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    let mut unknown = Vec::new();
    match deserialize(pairs, &mut unknown, fault) {
        Ok(value) => valid(value, unknown, Problem::BAD_REQUEST, fault),
        Err((error, place)) => {
            unknown.push(fault(place, detail(&error.to_string()).into()));
            Err(Problem::BAD_REQUEST.with(unknown))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use serde::Deserialize;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::testing::Answer;

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
    }

    #[derive(Debug, Deserialize, Validate)]
    struct Page {
        #[garde(range(min = 1))]
        limit: Option<u8>,
        #[garde(skip)]
        all: Option<bool>,
    }

    /// The status of the answer, and its only fault.
    async fn ask(target: &str) -> (u16, String) {
        let color = get(async |Path(Color::Red): Path<Color>| ());
        let page = async |Query(page): Query<Page>| {
            assert_eq!((page.limit, page.all), (Some(1), Some(true)));
        };
        let routes = Router::new()
            .route("/number/{id}", get(async |Path(_): Path<i64>| ()))
            .route("/color/{color}", color)
            .route("/two/{a}/{b}", get(async |Path(_): Path<(u8, u8)>| ()))
            .route("/page", get(page));
        let request = Request::get(target).body(Body::empty()).unwrap();
        let response = routes.oneshot(request).await.unwrap();
        let answer = Answer::read(response).await.unwrap();
        let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        assert!(problem["errors"][1].is_null(), "{problem}");
        let text = |key| problem["errors"][0][key].as_str().unwrap_or_default();
        let fault = format!("{} {}", text("parameter"), text("detail"));
        (answer.status, fault.trim().to_owned())
    }

    #[tokio::test]
    async fn malformed_parameter_is_named() {
        for (target, fault) in [
            ("/number/7", ""),
            ("/number/seven", "id must be a whole number"),
            ("/number/99999999999999999999", "id is out of range"),
            ("/number/%ff", "id is not valid"),
            ("/color/red", ""),
            ("/color/mauve", "color is not valid"),
            ("/two/1/2", ""),
            ("/two/1/300", "b is out of range"),
            ("/page?limit=1&all=true", ""),
            ("/page?limit=many", "limit must be a whole number"),
            ("/page?limit=256", "limit is out of range"),
            ("/page?limit=", "limit must be a whole number"),
            ("/page?all=maybe", "all must be true or false"),
            ("/page?limit=0", "limit lower than 1"),
            ("/page?limt=1", "limt is unknown"),
            ("/page?limit=1&limit=2", "limit is a duplicate"),
        ] {
            let status = if fault.is_empty() { 200 } else { 400 };
            assert_eq!(ask(target).await, (status, fault.to_owned()), "{target}");
        }
    }
}
