//! Pages of other sites, which can make a browser send requests with whatever it keeps for this one.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::frame::settings::{Check, Reader, Section, Setting};

/// The part of `[http]` that is about pages of other sites.
#[derive(Debug, Clone)]
pub struct Origins {
    pub allowed: Vec<Origin>,
    pub credentials: bool,
    pub refuse_others: bool,
}

/// Where a page comes from, as browsers tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(HeaderValue);

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

/// The least time for which a browser keeps what it was told.
const REMEMBERED: Duration = Duration::from_mins(10);

impl Origins {
    /// Tells browsers which pages may read our answers. `None` when only our own may.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        let allowed = self.allowed.iter().map(|origin| origin.0.clone());
        let shown = [
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            super::REQUEST_ID,
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
    /// something.
    pub(super) fn refuse(&self, method: &Method, headers: &HeaderMap) -> bool {
        self.refuse_others
            && !method.is_safe()
            && is_foreign(headers)
            && !self
                .allowed
                .iter()
                .any(|origin| headers.get(header::ORIGIN) == Some(&origin.0))
    }
}

/// Whether a browser sends this for a page that did not come from here.
///
/// A page cannot make a browser hide where it comes from. What is no browser says nothing of that, and
/// keeps nothing for us that it would send by itself.
pub fn is_foreign(headers: &HeaderMap) -> bool {
    const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let text = |name| headers.get(name).map(HeaderValue::as_bytes);
    match text(header::ORIGIN) {
        Some(origin) => {
            let schemes: [&[u8]; 2] = [b"http://", b"https://"];
            let host = schemes
                .iter()
                .find_map(|scheme| origin.strip_prefix(*scheme));
            host.is_none() || host != text(header::HOST)
        }
        None => text(SITE).is_some_and(|site| site == b"cross-site" || site == b"same-site"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = given.iter();
        pairs
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_a_page_from_here_is_none_of_another_site() {
        let site = HeaderName::from_static("sec-fetch-site");
        let host = (header::HOST, "api.example.org");
        for (name, value, foreign) in [
            (header::ORIGIN, "https://api.example.org", false),
            (header::ORIGIN, "http://api.example.org", false),
            (header::ORIGIN, "https://api.example.org:8443", true),
            (header::ORIGIN, "https://evil.example", true),
            (header::ORIGIN, "https://api.example.org.evil.example", true),
            (header::ORIGIN, "null", true),
            (header::ORIGIN, "api.example.org", true),
            (site.clone(), "cross-site", true),
            (site.clone(), "same-site", true),
            (site.clone(), "same-origin", false),
            (site, "none", false),
            (header::ACCEPT, "*/*", false),
        ] {
            let given = headers(&[host.clone(), (name.clone(), value)]);
            assert_eq!(is_foreign(&given), foreign, "{name}: {value}");
        }
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
