//! Requests from pages of other origins, which a browser may send with credentials: CORS and cross-site requests.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::header_names::{IDEMPOTENT_REPLAYED, REQUEST_ID};
use crate::settings::{Check, Reader, Section, Setting};

/// The part of `[http]` that is about pages of other sites.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    pub(crate) allowed: Vec<Origin>,
    pub(crate) credentials: bool,
    pub(crate) refuse_others: bool,
}

/// Where a page comes from, as browsers tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin(HeaderValue);

impl Setting for Origin {
    const EXPECTED: &'static str = "an origin, such as `https://app.example.org`";

    fn parse(value: &config::ValueKind) -> Option<Self> {
        let text = String::parse(value)?;
        let url = url::Url::parse(&text).ok()?;
        // Exactly as a browser would write it, or it would never be the same.
        let is_origin = url.origin().ascii_serialization() == text;
        HeaderValue::from_str(&text)
            .ok()
            .filter(|_| is_origin)
            .map(Self)
    }
}

impl Section for Origins {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            allowed: from.value("allowed_origins"),
            credentials: from.value("allow_credentials"),
            refuse_others: from.value("refuse_other_origins"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            !self.credentials || !self.allowed.is_empty(),
            &["http.allow_credentials", "http.allowed_origins"],
            "there is no origin to allow them to; name those that may send them",
        );
    }
}

/// How long a browser may keep what it was told.
const REMEMBERED: Duration = Duration::from_mins(10);

impl Origins {
    /// Tells browsers which pages may read our answers. `None` when only our own may.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        let allowed = self.allowed.iter().map(|origin| origin.0.clone());
        let shown = [
            header::ETAG,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            IDEMPOTENT_REPLAYED,
            REQUEST_ID,
        ];
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::list(allowed))
            .allow_methods(AllowMethods::mirror_request())
            .allow_headers(AllowHeaders::mirror_request())
            .allow_credentials(self.credentials)
            .expose_headers(shown)
            .max_age(REMEMBERED);
        (!self.allowed.is_empty()).then_some(layer)
    }

    /// Whether this is to be refused, since it is a page of another site that wants to change
    /// something, or to talk.
    pub(super) fn refuse(&self, request: &Request) -> bool {
        if !self.refuse_others {
            return false;
        }
        let headers = request.headers();
        let is_harmless = request.method().is_safe() && !headers.contains_key(header::UPGRADE);
        let origin = headers.get(header::ORIGIN);
        let is_allowed = || {
            self.allowed
                .iter()
                .any(|allowed| origin == Some(&allowed.0))
        };
        !is_harmless && is_foreign(request) && !is_allowed()
    }
}

/// Whether a browser sends this for a page that did not come from here.
///
/// A page cannot make a browser hide where it comes from. What is no browser says nothing of that, and
/// keeps nothing for us that it would send by itself.
pub(crate) fn is_foreign(request: &Request) -> bool {
    const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let text = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    match (text(SITE), text(header::ORIGIN)) {
        (Some(site), _) => site != b"same-origin" && site != b"none",
        (None, Some(origin)) => {
            let target = request.uri().authority();
            let here = target.map(|target| target.as_str().as_bytes());
            let here = here.or_else(|| text(header::HOST));
            let schemes: [&[u8]; 2] = [b"http://", b"https://"];
            let there = schemes
                .iter()
                .find_map(|scheme| origin.strip_prefix(*scheme));
            there.is_none() || there != here
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Method;

    use super::*;

    fn request(target: &str, given: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().uri(target);
        for (name, value) in given {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_a_page_from_here_is_none_of_another_site() {
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
        // What a proxy has made of the host does not matter to a browser that says it all.
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
    fn a_page_of_another_site_neither_changes_anything_nor_talks() {
        let origins = Origins {
            allowed: Vec::new(),
            credentials: false,
            refuse_others: true,
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
    fn an_origin_is_written_as_a_browser_would() {
        let parse = |text: &str| <Origin as Setting>::parse(&text.into());
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
