//! Requests from pages of other origins: CORS (of the Fetch standard) and protection against forged requests.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use garde::Validate;
use serde::{Deserialize, Deserializer};

use crate::settings;

/// The part of `[http]` that is about pages of other origins.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::has_origins_for_credentials))]
#[expect(clippy::struct_field_names, reason = "they are those of the keys")]
pub(crate) struct Origins {
    pub(crate) allowed_origins: Vec<Origin>,
    pub(crate) allow_credentials: bool,
    pub(crate) refuse_other_origins: bool,
}

/// The origin of a page, as browsers send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin(HeaderValue);

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "an origin, such as `https://app.example.org`";
        settings::from_text(value, expected, |text| {
            let url = url::Url::parse(text).ok()?;
            // It is compared byte by byte, so it must be written as browsers write it.
            let is_origin = url.origin().ascii_serialization() == text;
            let header = HeaderValue::from_str(text).ok();
            header.filter(|_| is_origin).map(Self)
        })
    }
}

/// The headers of an answer that a page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag, link, location, retry-after, idempotent-replayed, x-request-id",
);

/// How long a browser may cache the answer to a preflight request, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

impl Origins {
    fn has_origins_for_credentials(&self, &(): &()) -> garde::Result {
        settings::rule(
            !self.allow_credentials || !self.allowed_origins.is_empty(),
            &["allow_credentials", "allowed_origins"],
            "there is no origin that may send credentials; name the origins that may",
        )
    }

    /// The origin of the page that sends the request, if it is an allowed one.
    pub(super) fn reader(&self, request: &Request) -> Option<&HeaderValue> {
        if self.allowed_origins.is_empty() {
            return None;
        }
        let origin = request.headers().get(header::ORIGIN)?;
        let mut allowed = self.allowed_origins.iter().map(|allowed| &allowed.0);
        allowed.find(|allowed| *allowed == origin)
    }

    /// Lets pages of this origin read the answer.
    pub(super) fn share(&self, reader: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.allowed_origins.is_empty() {
            return;
        }
        // Caches must know this of every answer.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = reader {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            if self.allow_credentials {
                let yes = HeaderValue::from_static("true");
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
        }
    }

    /// The answer to a preflight request, which allows the method and the headers that it asks for. Which origin may
    /// use them, [`share`](Self::share) says.
    pub(super) fn preflight(&self, request: &Request) -> Option<Response> {
        if self.allowed_origins.is_empty() || request.method() != Method::OPTIONS {
            return None;
        }
        let asked = request.headers();
        let method = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let names = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let names = names.map(|names| [(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone())]);
        let method = (header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        let max_age = (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(([method, max_age], names, ()).into_response())
    }

    /// Whether to refuse the request, unless its origin is allowed: it comes from a page of another origin, and may
    /// change something or open a WebSocket.
    pub(super) fn refuse(&self, request: &Request) -> bool {
        let has = |name| request.headers().contains_key(name);
        self.refuse_other_origins
            && (!request.method().is_safe() || has(header::UPGRADE))
            && is_foreign(request)
    }
}

/// Whether a browser sends this request for a page of another origin.
///
/// A page cannot make a browser hide its origin. Other clients send no origin, and no credentials by themselves.
pub(crate) fn is_foreign(request: &Request) -> bool {
    const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let text = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    match (text(SITE), text(header::ORIGIN)) {
        (Some(site), _) => site != b"same-origin" && site != b"none",
        (None, Some(origin)) => {
            let target = request.uri().authority();
            let target = target.map(|target| target.as_str().as_bytes());
            let own_host = target.or_else(|| text(header::HOST));
            let host = origin.strip_prefix(b"http://");
            let host = host.or_else(|| origin.strip_prefix(b"https://"));
            host.is_none() || host != own_host
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(target: &str, given: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().uri(target);
        for (name, value) in given {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn foreign_pages_are_told_by_fetch_metadata_or_origin() {
        for (name, value, foreign) in [
            ("origin", "https://api.example.org", false),
            ("origin", "http://api.example.org", false),
            ("origin", "https://api.example.org:8443", true),
            ("origin", "https://evil.example", true),
            ("origin", "https://api.example.org.evil.example", true),
            ("origin", "null", true),
            ("origin", "api.example.org", true),
            ("sec-fetch-site", "cross-site", true),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "none", false),
            ("accept", "*/*", false),
        ] {
            let by_header = request("/", &[("host", "api.example.org"), (name, value)]);
            assert_eq!(is_foreign(&by_header), foreign, "{name}: {value}");
            let by_target = request("https://api.example.org/", &[(name, value)]);
            assert_eq!(is_foreign(&by_target), foreign, "{name}: {value}");
        }
        // A proxy may change the host. `sec-fetch-site` still tells.
        let behind_proxy = request(
            "/",
            &[
                ("host", "internal:8080"),
                ("origin", "https://api.example.org"),
                ("sec-fetch-site", "same-origin"),
            ],
        );
        assert!(!is_foreign(&behind_proxy));
    }

    #[test]
    fn foreign_pages_may_neither_write_nor_open_a_websocket() {
        let origins = Origins {
            allowed_origins: Vec::new(),
            allow_credentials: false,
            refuse_other_origins: true,
        };
        let evil = ("origin", "https://evil.example");
        let read = request("/", &[evil]);
        assert!(!origins.refuse(&read));
        let talk = request("/", &[evil, ("upgrade", "websocket")]);
        assert!(origins.refuse(&talk));
        let mut change = request("/", &[evil]);
        *change.method_mut() = Method::DELETE;
        assert!(origins.refuse(&change));
    }

    #[test]
    fn origin_setting_is_written_as_browsers_write_it() {
        let parse = |text: &str| serde_json::from_value::<Origin>(text.into()).ok();
        for fine in ["https://app.example.org", "http://localhost:3000"] {
            assert!(parse(fine).is_some(), "{fine}");
        }
        for bad in [
            "*",
            "null",
            "app.example.org",
            "https://app.example.org/",
            "https://App.example.org",
            "https://app.example.org:443",
            "",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
