//! `/openapi.json`, and the page that shows it: `/docs`, with a script and a style of its own.
//!
//! All of it is there from the start, and goes by its content: who has it already is told so (304).
//! The page asks this service for the description and nobody else for anything, which its
//! `Content-Security-Policy` holds it to.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;

use crate::precondition::{IfNoneMatch, Tag};

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

/// What is the same for everybody, as long as the process lives.
#[derive(Clone)]
struct File {
    content: Bytes,
    kind: HeaderValue,
    tag: Tag,
    policy: Option<HeaderValue>,
}

impl File {
    fn new(kind: &'static str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self {
            tag: Tag::of_content(&content),
            content,
            kind: HeaderValue::from_static(kind),
            policy: None,
        }
    }

    fn under(mut self, policy: HeaderValue) -> Self {
        self.policy = Some(policy);
        self
    }

    fn route(self) -> axum::routing::MethodRouter {
        get(async move |known: IfNoneMatch| self.answer(&known))
    }

    fn answer(&self, known: &IfNoneMatch) -> Response {
        let kind = [(header::CONTENT_TYPE, self.kind.clone())];
        let mut response = known.or_answer(self.tag.clone(), (kind, self.content.clone()));
        let headers = response.headers_mut();
        // Kept, and asked for again: it is another one after a deployment.
        let kept = HeaderValue::from_static("no-cache");
        headers.insert(header::CACHE_CONTROL, kept);
        let policy = self.policy.clone();
        headers.extend(policy.map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
        response
    }
}
