//! `/openapi.json`, and the page that shows it: `/docs`, with a script and a style of its own.
//!
//! The page requests nothing from other hosts. Its `Content-Security-Policy` enforces that.

use axum::Router;
use axum::http::HeaderValue;

use super::file::File;

/// It runs the script that it came with, and talks to this service; it loads no picture but an empty
/// one, lest a browser ask for one by itself.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The description, the page, and what it is made of.
pub(super) fn routes(description: String) -> Router {
    let json = File::new("application/json", description);
    let page = File::new("text/html; charset=utf-8", include_str!("page/docs.html"));
    let style = File::new("text/css; charset=utf-8", include_str!("page/docs.css"));
    let script = File::new(
        "text/javascript; charset=utf-8",
        include_str!("page/docs.js"),
    );
    Router::new()
        .route("/openapi.json", json.route())
        .route("/docs", page.under(POLICY).route())
        .route("/docs/docs.css", style.route())
        .route("/docs/docs.js", script.route())
}
