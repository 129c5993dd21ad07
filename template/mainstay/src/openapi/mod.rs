//! The OpenAPI 3.1 description of the API, and a page that shows it.
//!
//! The annotation of a handler describes its own parameters, bodies and answers. This module adds what all
//! operations share: the errors of the middleware, the body of a problem, the headers of all answers, and that
//! unknown fields are refused.

mod closed;
mod common;
mod file;
mod index;
mod page;

use axum::Router;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, PathItem};
use utoipa_axum::router::OpenApiRouter;

/// The routes of the service. If they are documented, this adds `/openapi.json`, the description of the routes;
/// `/docs`, a page that shows it; and `/`, a short document that names both, unless the routes describe a `/` of
/// their own.
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
    let title = api.info.title.clone();
    let routes = routes.merge(page::routes(&title, text(api)?));
    if has_index {
        return Ok(routes);
    }
    Ok(routes.merge(index::routes()?))
}

/// The complete description, as JSON.
fn text(mut api: OpenApi) -> Result<String, serde_json::Error> {
    common::add(&mut api);
    closed::close(&mut api);
    api.to_pretty_json().map(|text| text + "\n")
}

/// The operations that may change something.
fn changing(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        post,
        put,
        patch,
        delete,
        ..
    } = path;
    [post, put, patch, delete].into_iter().flatten()
}

#[cfg(test)]
mod tests;
