//! `/openapi.json`, and `/docs`, the page that shows it.
//!
//! The page requests nothing from other hosts. Its `Content-Security-Policy` enforces that.

use axum::Router;
use axum::http::HeaderValue;

use super::file::File;

/// The page runs its own script and sends requests to this service. `data:` is for the empty icon.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The description, and the page with this title.
pub(super) fn routes(title: &str, description: String) -> Router {
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let page = include_str!("page/docs.html").replace(">API</", &format!(">{title}</"));
    let page = File::new("text/html; charset=utf-8", page).under(POLICY);
    let style = File::new("text/css; charset=utf-8", include_str!("page/docs.css"));
    let script = include_str!("page/docs.js");
    let script = File::new("text/javascript; charset=utf-8", script);
    let description = File::new("application/json", description);
    Router::new()
        .route("/openapi.json", description.route())
        .route("/docs", page.route())
        .route("/docs/docs.css", style.route())
        .route("/docs/docs.js", script.route())
}
