//! `/openapi.json`, and the page that shows it: `/docs`, with a script and a style of its own.
//!
//! All of it is there from the start, and goes by its content: who has it already is told so (304).
//! The page asks this service for the description and nobody else for anything, which its
//! `Content-Security-Policy` holds it to.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

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
    tag: Option<HeaderValue>,
    policy: Option<HeaderValue>,
}

impl File {
    fn new(kind: &'static str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        // The same in every replica of the same build.
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let tag = format!("\"{:016x}\"", hasher.finish());
        Self {
            content,
            kind: HeaderValue::from_static(kind),
            tag: HeaderValue::try_from(tag).ok(),
            policy: None,
        }
    }

    fn under(mut self, policy: HeaderValue) -> Self {
        self.policy = Some(policy);
        self
    }

    fn route(self) -> axum::routing::MethodRouter {
        get(async move |headers: HeaderMap| self.answer(&headers))
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let mut response = if self.is_known(asked) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let kind = [(header::CONTENT_TYPE, self.kind.clone())];
            (kind, self.content.clone()).into_response()
        };
        let headers = response.headers_mut();
        // Kept, and asked for again: it is another one after a deployment.
        let kept = HeaderValue::from_static("no-cache");
        headers.insert(header::CACHE_CONTROL, kept);
        headers.extend(self.tag.clone().map(|tag| (header::ETAG, tag)));
        let policy = self.policy.clone();
        headers.extend(policy.map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
        response
    }

    /// Whether whoever asks has it already.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let tags = asked.get_all(header::IF_NONE_MATCH).iter();
        let tags = tags.filter_map(|tags| tags.to_str().ok());
        tags.flat_map(|tags| tags.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || self.tag.as_ref().is_some_and(|own| own == tag))
    }
}
