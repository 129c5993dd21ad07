//! The description of the API, as OpenAPI 3.1: made from the code, served with a page that shows it.
//!
//! A handler says in its annotation what is its own: parameters, bodies, what it answers. What every
//! operation has is added here, once: the problems that the edge answers with, the body of a problem
//! wherever a handler only names its status, the headers of all answers, and that a field which nobody
//! knows is refused. So the description is complete, and an annotation short.

mod closed;
mod common;
mod page;

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// The routes as they are served: with the description of them, and its page, if that is wanted.
///
/// # Errors
///
/// When the description cannot be written as JSON.
pub fn with_documentation(
    routes: OpenApiRouter,
    documented: bool,
) -> Result<Router, serde_json::Error> {
    let (routes, api) = routes.split_for_parts();
    if !documented {
        return Ok(routes);
    }
    let description = text(api)?;
    Ok(routes.merge(page::routes(description)))
}

/// The whole description.
fn text(mut api: OpenApi) -> Result<String, serde_json::Error> {
    common::add(&mut api);
    closed::close(&mut api);
    api.to_pretty_json().map(|text| text + "\n")
}

#[cfg(test)]
mod tests;
