//! What is refused, and which places it names.

use std::collections::BTreeMap;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

use super::*;
use crate::testing::Answer;
use crate::tests::{request, send};

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
    let problem = parse_json::<T>(body.as_bytes()).err().unwrap();
    let answer = Answer::read(problem.into_response()).await.unwrap().json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let faults = answer["errors"].as_array().unwrap().iter();
    let faults = faults.map(|it| format!("{} {}", text(&it["pointer"]), text(&it["detail"])));
    [text(&answer["code"])].into_iter().chain(faults).collect()
}

#[tokio::test]
async fn every_fault_is_reported_with_its_place() {
    for (body, place) in [
        ("", "line 1, column 0"),
        ("{\n  nonsense", "line 2, column 3"),
        (r#"{"name": "a", "parts": []} more"#, "line 1, column 28"),
    ] {
        let expected = format!(" is not valid JSON at {place}");
        assert_eq!(refused::<Order>(body).await, ["bad_request", &expected]);
    }
    let cases = r#"
        7 =>  must be an object
        {"parts": []} => /name is missing
        {"name": 7, "parts": []} => /name must be a string
        {"name": "a", "name": "b", "parts": []} => /name is a duplicate
        {"name": "a", "parts": {}} => /parts must be an array
        {"name": "a", "parts": [{"count": "one"}]} => /parts/0/count must be a whole number
        {"name": "a", "parts": [{"count": 1}, {}]} => /parts/1/count is missing
        {"name": "a", "parts": [{"count": 256}]} => /parts/0/count is out of range
        {"name": "a", "parts": [], "color": "mauve"} => /color is not one of the allowed values
        {"name": "a", "parts": [{"count": 1, "a/b": 2}], "nmae": {"c": 3}} => /parts/0/a~1b is unknown => /nmae is unknown
        {"name": "", "parts": [{"count": 1}, {"count": 10}], "more": 1} => /more is unknown => /name length is lower than 1 => /parts/1/count greater than 9
    "#;
    for case in cases.trim().lines() {
        let (body, faults) = case.trim().split_once(" => ").unwrap();
        let refused = refused::<Order>(body).await;
        assert_eq!(refused[0], "invalid", "{body}");
        assert_eq!(refused[1..].join(" => "), faults, "{body}");
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
async fn number_of_faults_is_limited() {
    let mut body = json!({ "name": "", "parts": [] });
    for number in 0..200 {
        body[number.to_string()] = 0.into();
    }
    let refused = refused::<Order>(&body.to_string()).await;
    assert_eq!((&*refused[0], refused.len()), ("invalid", 1 + MAX_FAULTS));
}

#[test]
fn valid_body_is_deserialized() {
    let body = br#"{"name": "a", "parts": [{"count": 9}], "color": "red"}"#;
    let order: Order = parse_json(body).unwrap();
    assert_eq!((order.name.as_str(), order.parts[0].count), ("a", 9));
    assert!(matches!(order.color, Some(Color::Red)));
}

#[test]
fn other_types_than_json_are_not_accepted() {
    for (kind, expected) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("application/problem+json", true),
        ("application/jsonp", false),
        ("application/json+xml", false),
        ("text/json", false),
        ("json", false),
    ] {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
        assert_eq!(is_json(&headers), expected, "{kind}");
    }
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
    let answer = send(&routes, request("GET", target), "").await;
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
