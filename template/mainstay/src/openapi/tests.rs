use serde_json::{Value, json};
use utoipa_axum::routes;

use super::*;
use crate::testing::Answer;
use crate::tests::{request, send};

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
        either: Either,
        paid: Paid,
    }

    #[derive(Deserialize, ToSchema)]
    struct Paid {
        sum: u8,
        #[serde(flatten)]
        payment: Payment,
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

#[test]
fn errors_are_described_with_their_body() {
    let api = described();
    let body = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    let shared = &api["components"]["responses"]["Problem"];
    assert_eq!(shared["content"]["application/problem+json"], body);
    for method in ["get", "post"] {
        let responses = &api["paths"]["/orders"][method]["responses"];
        for range in ["4XX", "5XX"] {
            let reference = "#/components/responses/Problem";
            assert_eq!(responses[range]["$ref"], reference, "{method} {range}");
        }
    }
    let responses = &api["paths"]["/orders"]["post"]["responses"];
    for own in ["409", "503"] {
        assert_eq!(responses[own]["content"]["application/problem+json"], body);
    }
    assert!(responses["201"]["content"]["application/json"].is_object());
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
    // Each part would refuse the fields of the other.
    for part in schemas["Paid"]["allOf"].as_array().unwrap() {
        assert!(part["additionalProperties"].is_null(), "{part}");
    }
    for open in ["Payment", "Receipt", "Problem"] {
        assert!(schemas[open]["additionalProperties"].is_null(), "{open}");
    }
}

async fn fetch(routes: &Router, path: &str) -> Answer {
    send(routes, request("GET", path), "").await
}

#[tokio::test]
async fn disabled_documentation_leaves_the_routes_alone() {
    let routes = with_documentation(routes(), false).unwrap();
    assert_eq!(fetch(&routes, "/orders").await.status, 200);
    for path in "/ /openapi.json /docs /docs/docs.css /docs/docs.js".split(' ') {
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
    for page in ["documentation", "description"] {
        let path = named[page].as_str().unwrap();
        assert_eq!(fetch(&index, path).await.status, 200, "{path}");
    }

    let own = with_documentation(routes().routes(routes!(home)), true).unwrap();
    assert_eq!(fetch(&own, "/").await.body, "home");
}
