//! Parameters of the query.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use garde::Validate;
use serde::de::DeserializeOwned;

use super::{UNKNOWN, detail, field, note, valid};
use crate::problem::{Fault, Problem};

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
    let pairs =
        || serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
    let mut unknown = Vec::new();
    let parsed = serde_ignored::deserialize(pairs(), |path| {
        note(&mut unknown, || {
            Fault::in_parameter(path.to_string(), UNKNOWN)
        });
    });
    let value: T = match parsed {
        Ok(value) => value,
        Err(error) => {
            let error = error.to_string();
            let place = serde_path_to_error::deserialize::<_, T>(pairs()).err();
            let place = place.map(|error| error.path().to_string());
            let name = field(&error).map(str::to_owned).or(place);
            unknown.push(Fault::in_parameter(
                name.unwrap_or_default(),
                detail(&error),
            ));
            return Err(Problem::BAD_REQUEST.with(unknown));
        }
    };
    valid(value, unknown, Problem::BAD_REQUEST, |place, detail| {
        Fault::in_parameter(place.to_string(), detail)
    })
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize, Validate)]
    struct Page {
        #[garde(range(min = 1))]
        limit: Option<u8>,
        #[garde(skip)]
        all: Option<bool>,
    }

    #[tokio::test]
    async fn malformed_query_parameter_is_named() {
        for (query, parameter, detail) in [
            ("limit=many", "limit", "must be a whole number"),
            ("limit=256", "limit", "is out of range"),
            ("limit=", "limit", "must be a whole number"),
            ("all=maybe", "all", "must be true or false"),
            ("limit=0", "limit", "lower than 1"),
            ("limt=1", "limt", "is unknown"),
            ("limit=1&limit=2", "limit", "is a duplicate"),
        ] {
            let problem = parse::<Page>(query).unwrap_err().into_response();
            let body = axum::body::to_bytes(problem.into_body(), 10_000).await;
            let body: Value = serde_json::from_slice(&body.unwrap()).unwrap();
            let expected = json!([{ "parameter": parameter, "detail": detail }]);
            assert_eq!(body["errors"], expected, "{query}");
        }
        let page: Page = parse("limit=1&all=true").unwrap();
        assert_eq!((page.limit, page.all), (Some(1), Some(true)));
    }
}
