//! Parameters of the query.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use garde::Validate;
use serde::de::DeserializeOwned;

use super::{UNKNOWN, field, note, valid, words};
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
            unknown.push(Fault::in_parameter(name.unwrap_or_default(), words(&error)));
            return Err(Problem::BAD_REQUEST.with(unknown));
        }
    };
    valid(value, unknown, Problem::BAD_REQUEST, |place, detail| {
        Fault::in_parameter(place.to_string(), detail)
    })
}
