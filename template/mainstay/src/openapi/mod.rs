//! The description of the API, as OpenAPI 3.1: made from the code, served with a page that shows it.
//!
//! A handler says in its annotation what is its own: parameters, bodies, what it answers. What every
//! operation has is added here, once: the problems that the edge answers with, the body of a problem
//! wherever a handler only names its status, the headers of all answers, and that a field which nobody
//! knows is refused. So the description is complete, and an annotation short.

mod closed;
mod common;
mod file;
mod index;
mod page;

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// The routes as they are served. If they are documented, these are added: `/openapi.json`, the
/// description of the routes; `/docs`, a page that shows it; and `/`, a short document that names both,
/// unless the routes describe a `/` of their own.
///
/// # Errors
///
/// When the description cannot be written as JSON.
///
/// # Panics
///
/// When the routes have one of these already, without a description: axum refuses two handlers for
/// one path.
pub fn with_documentation(
    routes: OpenApiRouter,
    is_documented: bool,
) -> Result<Router, serde_json::Error> {
    let (routes, api) = routes.split_for_parts();
    if !is_documented {
        return Ok(routes);
    }
    let has_index = api.paths.paths.contains_key("/");
    let routes = routes.merge(page::routes(text(api)?));
    if has_index {
        return Ok(routes);
    }
    Ok(routes.merge(index::routes()?))
}

/// The whole description.
fn text(mut api: OpenApi) -> Result<String, serde_json::Error> {
    common::add(&mut api);
    closed::close(&mut api);
    api.to_pretty_json().map(|text| text + "\n")
}

#[cfg(test)]
mod tests;
