//! `/`: names the documentation, for people who have only the address of the service.

use axum::Router;
use serde::Serialize;

use super::file::File;
use crate::BuildInfo;

#[derive(Serialize)]
struct Index {
    service: &'static str,
    version: &'static str,
    documentation: &'static str,
    description: &'static str,
    probes: [&'static str; 3],
}

/// The route `/`.
pub(super) fn routes() -> Result<Router, serde_json::Error> {
    let BuildInfo { name, version, .. } = BuildInfo::current();
    let index = Index {
        service: name,
        version,
        documentation: "/docs",
        description: "/openapi.json",
        probes: ["/livez", "/readyz", "/startupz"],
    };
    let index = serde_json::to_string_pretty(&index)? + "\n";
    Ok(Router::new().route("/", File::new("application/json", index).route()))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::response::IntoResponse;
    use serde_json::{Value, json};
    use tower::ServiceExt;
    use utoipa_axum::router::OpenApiRouter;
    use utoipa_axum::routes;

    use crate::input::Json;
    use crate::openapi::with_documentation;

    async fn get(routes: &axum::Router, path: &str) -> (u16, Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let (status, body) = (response.status().as_u16(), response.into_body());
        let body = to_bytes(body, 1_000_000).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn index_names_the_service_and_its_documentation() {
        let routes = with_documentation(OpenApiRouter::new(), true).unwrap();

        let (status, index) = get(&routes, "/").await;

        assert_eq!((status, &index["service"]), (200, &"mainstay".into()));
        assert_eq!(index["version"], env!("CARGO_PKG_VERSION"));
        for page in ["documentation", "description"] {
            let page = index[page].as_str().unwrap();
            assert_eq!(get(&routes, page).await.0, 200, "{page}");
        }
    }

    #[tokio::test]
    async fn index_is_absent_without_documentation() {
        let routes = with_documentation(OpenApiRouter::new(), false).unwrap();
        assert_eq!(get(&routes, "/").await.0, 404);
    }

    #[utoipa::path(get, path = "/", responses((status = OK, description = "Home")))]
    async fn home() -> impl IntoResponse {
        Json("home")
    }

    #[tokio::test]
    async fn index_gives_way_to_a_route_of_the_service() {
        let routes = OpenApiRouter::new().routes(routes!(home));
        let routes = with_documentation(routes, true).unwrap();
        assert_eq!(get(&routes, "/").await, (200, json!("home")));
    }
}
