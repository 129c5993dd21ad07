//! A file in the binary, with an `ETag` of its content: a client that has the file already gets a 304.

use axum::body::Bytes;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;

use crate::precondition::{IfNoneMatch, Tag};

/// A file, with its media type.
#[derive(Clone)]
pub(super) struct File {
    content: Bytes,
    kind: HeaderValue,
    tag: Tag,
    policy: Option<HeaderValue>,
}

impl File {
    pub(super) fn new(kind: &'static str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self {
            tag: Tag::of_content(&content),
            content,
            kind: HeaderValue::from_static(kind),
            policy: None,
        }
    }

    /// Served with this `Content-Security-Policy`.
    pub(super) fn under(mut self, policy: HeaderValue) -> Self {
        self.policy = Some(policy);
        self
    }

    pub(super) fn route(self) -> axum::routing::MethodRouter {
        get(async move |known: IfNoneMatch| self.answer(&known))
    }

    fn answer(&self, known: &IfNoneMatch) -> Response {
        let kind = [(header::CONTENT_TYPE, self.kind.clone())];
        let mut response = known.respond(self.tag.clone(), (kind, self.content.clone()));
        let headers = response.headers_mut();
        // A deployment changes the content, so that caches must revalidate it.
        let revalidate = HeaderValue::from_static("no-cache");
        headers.insert(header::CACHE_CONTROL, revalidate);
        let policy = self.policy.clone();
        headers.extend(policy.map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
        response
    }
}
