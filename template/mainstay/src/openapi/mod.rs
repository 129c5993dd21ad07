//! The OpenAPI 3.1 description of the API, and a page that shows it.
//!
//! The annotation of a handler describes its own parameters, bodies and answers. This module adds what all
//! operations share: the errors of the middleware, the body of a problem, the headers of all answers, and that
//! unknown fields are refused.
//!
//! The page requests nothing from other hosts. Its `Content-Security-Policy` enforces that.

mod closed;
mod common;

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::BuildInfo;
use crate::problem::Body;

/// The page runs its own script and reads from this service. `data:` is for the empty icon.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the service. If they are documented, this adds `/openapi.json`, the description of the routes;
/// `/docs`, a page that shows it; and `/`, which names both, unless the routes describe a `/` of their own.
///
/// # Errors
///
/// If the description cannot be written as JSON.
///
/// # Panics
///
/// If the routes have one of these paths already, without a description: axum refuses two handlers for a path.
pub fn with_documentation(
    routes: OpenApiRouter,
    is_documented: bool,
) -> Result<Router, serde_json::Error> {
    let (routes, api) = routes.split_for_parts();
    if !is_documented {
        return Ok(routes);
    }
    let has_index = api.paths.paths.contains_key("/");
    let title = api.info.title.replace('&', "&amp;").replace('<', "&lt;");
    let page = include_str!("page/docs.html").replace(">API</", &format!(">{title}</"));
    let style = include_str!("page/docs.css").to_owned();
    let script = include_str!("page/docs.js").to_owned();
    let routes = routes
        .route("/openapi.json", file("application/json", complete(api)?))
        .route(
            "/docs",
            get((
                [
                    (CONTENT_TYPE, "text/html; charset=utf-8"),
                    (CONTENT_SECURITY_POLICY, POLICY),
                ],
                page,
            )),
        )
        .route("/docs/docs.css", file("text/css; charset=utf-8", style))
        .route(
            "/docs/docs.js",
            file("text/javascript; charset=utf-8", script),
        );
    if has_index {
        return Ok(routes);
    }
    let BuildInfo { name, version, .. } = BuildInfo::current();
    let index = serde_json::to_string_pretty(&json!({
        "service": name,
        "version": version,
        "documentation": "/docs",
        "description": "/openapi.json",
        "probes": ["/livez", "/readyz", "/startupz"],
    }))?;
    Ok(routes.route("/", file("application/json", index + "\n")))
}

fn file(kind: &'static str, content: String) -> MethodRouter {
    get(([(CONTENT_TYPE, kind)], content))
}

/// The complete description, as JSON.
fn complete(mut api: OpenApi) -> Result<String, serde_json::Error> {
    // Without a license in the manifest, its name is empty.
    api.info.license.take_if(|license| license.name.is_empty());
    let mut schemas = vec![(Body::name().into_owned(), Body::schema())];
    Body::schemas(&mut schemas);
    let components = api.components.get_or_insert_default();
    components.schemas.extend(schemas);
    let mut api = serde_json::to_value(api)?;
    common::add(&mut api);
    closed::close(&mut api);
    // The type has the order of fields that readers expect.
    let api: OpenApi = serde_json::from_value(api)?;
    api.to_pretty_json().map(|text| text + "\n")
}

/// The members of the object at a JSON pointer.
fn members<'a>(
    value: &'a mut Value,
    at: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    let object = value.pointer_mut(at).and_then(Value::as_object_mut);
    object.into_iter().flatten()
}

/// The operations, each with its method.
fn operations(api: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    let items = members(api, "/paths").flat_map(|(_, path)| members(path, ""));
    items.filter(|(_, operation)| operation.get("responses").is_some())
}

#[cfg(test)]
mod tests;
