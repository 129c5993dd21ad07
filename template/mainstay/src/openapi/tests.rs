use axum::body::Body;
use axum::extract::Request;
use serde_json::{Value, json};
use tower::ServiceExt;
use utoipa_axum::routes;

use super::*;
use crate::testing::Answer;

/// Types that only their description is about.
#[allow(dead_code, reason = "only the schema counts")]
mod schemas {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use utoipa::ToSchema;

    #[derive(Deserialize, ToSchema)]
    pub(super) struct Order {
        parts: Vec<Part>,
        notes: BTreeMap<String, Note>,
        #[serde(flatten)]
        payment: Payment,
        either: Either,
        also: Payment,
    }

    #[derive(Deserialize, ToSchema)]
    struct Part {
        count: u8,
    }

    #[derive(Deserialize, ToSchema)]
    struct Note {
        text: String,
    }

    #[derive(Deserialize, ToSchema)]
    struct Payment {
        card: String,
    }

    #[derive(Deserialize, ToSchema)]
    enum Either {
        This { one: u8 },
        That(Part),
    }

    #[derive(ToSchema)]
    pub(super) struct Receipt {
        number: u64,
    }
}
use schemas::{Order, Receipt};

/// Takes an order
#[utoipa::path(post, path = "/orders", request_body = Order, responses(
    (status = CREATED, description = "Taken", body = Receipt),
    (status = CONFLICT, description = "`taken`"),
    (status = TOO_MANY_REQUESTS, description = "`too_many_requests`"),
    (status = SERVICE_UNAVAILABLE, description = "`closed`: Come back tomorrow."),
))]
async fn order() {}

/// Shows a receipt
#[utoipa::path(get, path = "/orders", responses((status = OK, description = "It", body = Receipt)))]
async fn receipt() {}

fn routes() -> OpenApiRouter {
    OpenApiRouter::default().routes(routes!(order, receipt))
}

fn described() -> Value {
    serde_json::from_str(&complete(routes().into_openapi()).unwrap()).unwrap()
}

fn statuses(operation: &Value) -> Vec<&str> {
    let responses = operation["responses"].as_object().unwrap();
    responses.keys().map(String::as_str).collect()
}

#[test]
fn errors_of_the_edge_are_added_to_those_of_a_handler() {
    let api = described();
    let reading = &api["paths"]["/orders"]["get"];
    assert_eq!(
        statuses(reading),
        ["200", "400", "414", "421", "500", "503", "504"]
    );
    let changing = &api["paths"]["/orders"]["post"];
    assert_eq!(
        statuses(changing),
        [
            "201", "400", "403", "408", "409", "413", "414", "415", "421", "422", "429", "500",
            "503", "504"
        ]
    );
    let refused = &api["components"]["responses"]["BadRequest"];
    let place = json!({ "$ref": "#/components/responses/BadRequest" });
    assert_eq!(reading["responses"]["400"], place);
    let words = refused["description"].as_str().unwrap();
    assert!(words.starts_with("`bad_request`: "), "{words}");
    let busy = &changing["responses"]["503"]["description"];
    let busy = busy.as_str().unwrap();
    for code in ["`closed`: Come back", "`unavailable`: ", "`overloaded`: "] {
        assert!(busy.contains(code), "{busy}");
    }
}

#[test]
fn errors_have_a_body_and_all_responses_have_headers() {
    let api = described();
    let answers = &api["paths"]["/orders"]["post"]["responses"];
    let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    let responses = &api["components"]["responses"];
    for (answer, has_delay) in [
        (&answers["409"], false),
        (&answers["429"], true),
        (&answers["503"], true),
        (&responses["ServiceUnavailable"], true),
        (&responses["BadRequest"], false),
    ] {
        let (body, headers) = (&answer["content"], &answer["headers"]);
        assert_eq!(body["application/problem+json"], problem, "{answer}");
        assert!(headers["x-request-id"].is_object(), "{answer}");
        assert_eq!(headers["retry-after"].is_object(), has_delay, "{answer}");
    }
    assert!(answers["201"]["content"]["application/json"].is_object());
    assert!(answers["201"]["headers"]["x-request-id"].is_object());
    for name in ["Problem", "ProblemFault", "ProblemPlace"] {
        assert!(api["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn request_schemas_are_closed_and_response_schemas_open() {
    let api = described();
    let schemas = &api["components"]["schemas"];
    for name in ["Part", "Note"] {
        assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
    }
    let this = &schemas["Either"]["oneOf"][0];
    assert_eq!(this["additionalProperties"], false);
    assert_eq!(this["properties"]["This"]["additionalProperties"], false);
    // Each part would refuse the fields of the other, also if it stands elsewhere as a whole.
    for part in schemas["Order"]["allOf"].as_array().unwrap() {
        assert!(part["additionalProperties"].is_null(), "{part}");
    }
    for open in ["Payment", "Receipt", "Problem"] {
        assert!(schemas[open]["additionalProperties"].is_null(), "{open}");
    }
}

async fn fetch(routes: &Router, path: &str) -> Answer {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = routes.clone().oneshot(request).await.unwrap();
    Answer::read(response).await.unwrap()
}

#[tokio::test]
async fn disabled_documentation_leaves_the_routes_alone() {
    let routes = with_documentation(routes(), false).unwrap();
    assert_eq!(fetch(&routes, "/orders").await.status, 200);
    for path in [
        "/",
        "/openapi.json",
        "/docs",
        "/docs/docs.css",
        "/docs/docs.js",
    ] {
        assert_eq!(fetch(&routes, path).await.status, 404, "{path}");
    }
}

#[utoipa::path(get, path = "/", responses((status = OK, description = "Home")))]
async fn home() -> &'static str {
    "home"
}

#[tokio::test]
async fn index_names_pages_that_exist_unless_the_service_has_its_own() {
    let index = with_documentation(routes(), true).unwrap();
    let named = fetch(&index, "/").await.json();
    assert_eq!(named["version"], env!("CARGO_PKG_VERSION"));
    for page in ["documentation", "description"] {
        let path = named[page].as_str().unwrap();
        assert_eq!(fetch(&index, path).await.status, 200, "{path}");
    }

    let own = with_documentation(routes().routes(routes!(home)), true).unwrap();
    assert_eq!(fetch(&own, "/").await.body, "home");
}

#[tokio::test]
async fn page_has_the_title_of_the_service() {
    let mut routes = OpenApiRouter::new();
    routes.get_openapi_mut().info.title = "Cut & <b>".to_owned();
    let routes = with_documentation(routes, true).unwrap();
    let Answer { headers, body, .. } = fetch(&routes, "/docs").await;
    let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for element in ["title", "h1"] {
        let title = format!("<{element}>Cut &amp; &lt;b></{element}>");
        assert!(body.contains(&title), "{body}");
    }
}
