//! Bodies of JSON.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use garde::Validate;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{FaultAt, deserialize, detail, valid};
use crate::problem::{Fault, Problem};

/// A body of JSON. As an extractor, it keeps the rules of its type; it is also an answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned + Validate<Context: Default>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let fault = Fault::in_header("content-type", "must be application/json");
            return Err(Problem::UNSUPPORTED_MEDIA_TYPE.with([fault]));
        }
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::BODY_TOO_LARGE,
            _ => Problem::BAD_REQUEST,
        })?;
        parse(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// `application/json`, and any other kind that is written in JSON, such as `application/ld+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/");
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn parse<T>(body: &[u8]) -> Result<T, Problem>
where
    T: DeserializeOwned + Validate<Context: Default>,
{
    let fault: FaultAt = Fault::in_body;
    let mut unknown = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = deserialize(&mut json, &mut unknown, fault).and_then(|value| {
        json.end().map_err(|error| (error, String::new()))?;
        Ok(value)
    });
    match parsed {
        Ok(value) => valid(value, unknown, Problem::INVALID, fault),
        Err((error, place)) if error.is_data() => {
            unknown.push(fault(place, detail(&error.to_string()).into()));
            Err(Problem::INVALID.with(unknown))
        }
        Err((error, _)) => {
            let (line, column) = (error.line(), error.column());
            let detail = format!("is not valid JSON at line {line}, column {column}");
            Err(Problem::BAD_REQUEST.with([Fault::in_body("", detail)]))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::problem::MAX_FAULTS;
    use crate::testing::Answer;

    #[derive(Debug, Deserialize, Validate)]
    struct Order {
        #[garde(length(min = 1))]
        name: String,
        #[garde(dive)]
        parts: Vec<Part>,
        #[serde(default)]
        #[garde(skip)]
        color: Option<Color>,
    }

    #[derive(Debug, Deserialize, Validate)]
    struct Part {
        #[garde(range(min = 1, max = 9))]
        count: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
    }

    /// The code of the problem, and each place with what is wrong there.
    async fn refused<T: DeserializeOwned + Validate<Context: Default>>(body: &str) -> Vec<String> {
        let problem = parse::<T>(body.as_bytes()).err().unwrap();
        let answer = Answer::read(problem.into_response()).await.unwrap().json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let faults = answer["errors"].as_array().unwrap().iter();
        let faults = faults.map(|it| format!("{} {}", text(&it["pointer"]), text(&it["detail"])));
        [text(&answer["code"])].into_iter().chain(faults).collect()
    }

    #[tokio::test]
    async fn every_fault_is_reported_with_its_place() {
        for (body, problem) in [
            ("", "bad_request:  is not valid JSON at line 1, column 0"),
            (
                "{\n  nonsense",
                "bad_request:  is not valid JSON at line 2, column 3",
            ),
            (
                r#"{"name": "a", "parts": []} more"#,
                "bad_request:  is not valid JSON at line 1, column 28",
            ),
            ("7", "invalid:  must be an object"),
            (
                r#"{"name": "a", "parts": [{"count": "one"}]}"#,
                "invalid: /parts/0/count must be a whole number",
            ),
            (
                r#"{"name": "a", "parts": {}}"#,
                "invalid: /parts must be an array",
            ),
            (r#"{"parts": []}"#, "invalid: /name is missing"),
            (
                r#"{"name": 7, "parts": []}"#,
                "invalid: /name must be a string",
            ),
            (
                r#"{"name": "a", "name": "b", "parts": []}"#,
                "invalid: /name is a duplicate",
            ),
            (
                r#"{"name": "a", "parts": [{"count": 1}, {}]}"#,
                "invalid: /parts/1/count is missing",
            ),
            (
                r#"{"name": "a", "parts": [{"count": 256}]}"#,
                "invalid: /parts/0/count is out of range",
            ),
            (
                r#"{"name": "a", "parts": [], "color": "mauve"}"#,
                "invalid: /color is not one of the allowed values",
            ),
            (
                r#"{"name": "a", "parts": [{"count": 1, "a/b": 2}], "nmae": {"c": 3}}"#,
                "invalid: /parts/0/a~1b is unknown: /nmae is unknown",
            ),
            (
                r#"{"name": "", "parts": [{"count": 1}, {"count": 10}], "more": 1}"#,
                "invalid: /more is unknown: /name length is lower than 1: /parts/1/count greater than 9",
            ),
        ] {
            assert_eq!(refused::<Order>(body).await.join(": "), problem, "{body}");
        }
    }

    #[derive(Debug, Deserialize, Validate)]
    struct Nested {
        #[garde(dive)]
        parts: Parts,
    }

    #[derive(Debug, Deserialize, Validate)]
    #[garde(transparent)]
    struct Parts(#[garde(length(min = 1))] Vec<u8>);

    #[tokio::test]
    async fn newtype_adds_no_step_to_a_pointer() {
        let refused = refused::<Nested>(r#"{"parts": []}"#).await;
        assert!(refused[1].starts_with("/parts "), "{refused:?}");
        let right: Nested = parse(br#"{"parts": [1]}"#).unwrap();
        assert_eq!(right.parts.0, [1]);
    }

    #[derive(Debug, Deserialize, Validate)]
    struct Stock {
        #[garde(dive)]
        parts: BTreeMap<String, Vec<Part>>,
    }

    #[tokio::test]
    async fn key_of_a_map_is_one_step_of_a_pointer() {
        for (key, place) in [
            ("a.b", "/parts/a.b/0/count"),
            ("a[7]", "/parts/a[7]/0/count"),
            ("a/b~c", "/parts/a~1b~0c/0/count"),
            ("", "/parts//0/count"),
            ("0", "/parts/0/0/count"),
        ] {
            let body = json!({ "parts": { key: [{ "count": 0 }] } });
            let refused = refused::<Stock>(&body.to_string()).await;
            assert_eq!(refused[1], format!("{place} lower than 1"), "{key}");
        }
    }

    #[tokio::test]
    async fn number_and_length_of_faults_are_limited() {
        let long = "x".repeat(100_000);
        let fields = (0..200).map(|number| format!(r#""{number}{long}": 0,"#));
        let fields: String = fields.collect();
        let body = format!("{{{fields} \"name\": \"\", \"parts\": []}}");
        let refused = refused::<Order>(&body).await;
        assert_eq!((&*refused[0], refused.len()), ("invalid", 1 + MAX_FAULTS));
        assert!(refused.iter().all(|fault| fault.len() < 1_000));
    }

    #[test]
    fn valid_body_is_deserialized() {
        let body = json!({ "name": "a", "parts": [{ "count": 9 }], "color": "red" });
        let order: Order = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!((order.name.as_str(), order.parts[0].count), ("a", 9));
        assert!(matches!(order.color, Some(Color::Red)));
    }

    #[test]
    fn json_is_recognized_by_content_type() {
        for (kind, is) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/json", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let headers = [(header::CONTENT_TYPE, kind.parse().unwrap())];
            assert_eq!(is_json(&HeaderMap::from_iter(headers)), is, "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
