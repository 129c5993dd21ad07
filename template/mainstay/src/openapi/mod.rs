//! The OpenAPI 3.1 description of the API, and a page that shows it.
//!
//! The annotation of a handler describes its own parameters, bodies and answers. This module adds what all
//! operations share: the problems of the edge, and that unknown fields are refused.
//!
//! The page requests nothing from other hosts. Its `Content-Security-Policy` enforces that.

mod complete;

use std::borrow::Cow;

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::{MethodRouter, get};
use utoipa_axum::router::OpenApiRouter;

use complete::complete;

/// The page runs its own script and reads from this service. `data:` is for the empty icon.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a visitor of `/` gets.
const INDEX: &str = r#"{"documentation":"/docs","description":"/openapi.json","probes":["/livez","/readyz","/startupz"]}
"#;

/// The routes of the service. If they are documented, this adds `/openapi.json`, the description of the routes;
/// `/docs`, a page that shows it; and `/`, which names both, unless the routes describe a `/` of their own.
///
/// Panics if the routes have one of these paths already, without a description: axum refuses two handlers for a path.
pub fn with_documentation(
    routes: OpenApiRouter,
    is_documented: bool,
) -> Result<Router, serde_json::Error> {
    let (mut routes, api) = routes.split_for_parts();
    if !is_documented {
        return Ok(routes);
    }
    if !api.paths.paths.contains_key("/") {
        routes = routes.route("/", file("application/json", INDEX));
    }
    let page = include_str!("page/docs.html");
    let style = include_str!("page/docs.css");
    let script = file(
        "text/javascript; charset=utf-8",
        include_str!("page/docs.js"),
    );
    Ok(routes
        .route("/openapi.json", file("application/json", complete(api)?))
        .route("/docs", file("text/html; charset=utf-8", page))
        .route("/docs/docs.css", file("text/css; charset=utf-8", style))
        .route("/docs/docs.js", script))
}

fn file(kind: &'static str, content: impl Into<Cow<'static, str>>) -> MethodRouter {
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)];
    get((headers, content.into()))
}

#[cfg(test)]
mod tests;
