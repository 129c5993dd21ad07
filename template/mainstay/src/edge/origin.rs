//! The host that a request is for, and the origin of the page that sends it.
//!
//! - Two different hosts in one request could make a cache or a proxy in front see another host than the service does.
//! - Pages of other origins read and change what CORS (of the Fetch standard) and `http.refuse_other_origins` allow.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, uri::Authority};
use axum::response::{IntoResponse, Response};

use super::Http;
use crate::problem::Problem;

/// The headers of an answer that a page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag, link, location, retry-after, idempotent-replayed, x-request-id",
);

/// Refuses a request that names no host, or two, or one that is not in `hosts`. An empty list allows all hosts. HTTP/1.0
/// may name none (RFC 9112, 3.2).
pub(crate) fn check_host<H: AsRef<str>>(request: &Request, hosts: &[H]) -> Result<(), Problem> {
    let mut headers = request.headers().get_all(header::HOST).iter();
    let header = headers.next().map(HeaderValue::as_bytes);
    // Proxies name the host in the target as well, and HTTP/2 always does.
    let target = request.uri().authority().map(|it| it.as_str().as_bytes());
    let version = request.version();
    let host = match (header, target) {
        (None, _) if version <= Version::HTTP_10 && hosts.is_empty() => return Ok(()),
        (None, Some(target)) if version >= Version::HTTP_2 => target,
        (Some(header), None) => header,
        (Some(header), Some(target)) if header.eq_ignore_ascii_case(target) => header,
        _ => return Err(Problem::BAD_REQUEST),
    };
    // An `@` would hide the host behind the name of a user.
    let is_in_host = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]%~".contains(byte);
    if headers.next().is_some() || host.is_empty() || !host.iter().all(is_in_host) {
        return Err(Problem::BAD_REQUEST);
    }
    if hosts.is_empty() {
        return Ok(());
    }
    let host = Authority::try_from(host).map_err(|_| Problem::BAD_REQUEST)?;
    let mut own = hosts.iter();
    if own.any(|own| own.as_ref().eq_ignore_ascii_case(host.host())) {
        Ok(())
    } else {
        Err(Problem::MISDIRECTED)
    }
}

impl Http {
    /// The allowed origin of the page that sends the request.
    pub(super) fn reader(&self, request: &Request) -> Option<HeaderValue> {
        if self.allowed_origins.is_empty() {
            return None;
        }
        let origin = request.headers().get(header::ORIGIN)?;
        let is_allowed = self.allowed_origins.iter().any(|it| it.0 == origin);
        is_allowed.then(|| origin.clone())
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

    /// Answers a preflight request with what it asks for. [`share`](Self::share) adds the origin, if it is allowed.
    pub(super) fn preflight(&self, request: &Request) -> Option<Response> {
        if self.allowed_origins.is_empty() || request.method() != Method::OPTIONS {
            return None;
        }
        let asked = request.headers();
        let method = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let mut allowed = HeaderMap::new();
        allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        let seconds = HeaderValue::from_static("600");
        allowed.insert(header::ACCESS_CONTROL_MAX_AGE, seconds);
        Some(allowed.into_response())
    }

    /// Whether the request comes from a page of another origin, and may change something or open a WebSocket.
    pub(super) fn refuses(&self, request: &Request) -> bool {
        let upgrades = || request.headers().contains_key(header::UPGRADE);
        self.refuse_other_origins
            && (!request.method().is_safe() || upgrades())
            && is_foreign(request)
    }
}

/// Whether a browser sends this request for a page of another origin. A page cannot make a browser hide its origin. Other
/// clients send no origin, and no credentials by themselves.
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
    use crate::edge::settings::Origin;
    use crate::tests::settings;

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
        let host = ("host", "internal:8080");
        let origin = ("origin", "https://api.example.org");
        let site = ("sec-fetch-site", "same-origin");
        assert!(!is_foreign(&request("/", &[host, origin, site])));
    }

    #[test]
    fn foreign_pages_may_neither_write_nor_open_a_websocket() {
        let http = settings(&["http.refuse_other_origins=true"]).http;
        let evil = ("origin", "https://evil.example");
        let read = request("/", &[evil]);
        assert!(!http.refuses(&read));
        let talk = request("/", &[evil, ("upgrade", "websocket")]);
        assert!(http.refuses(&talk));
        let mut change = request("/", &[evil]);
        *change.method_mut() = Method::DELETE;
        assert!(http.refuses(&change));
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

    /// Checks the hosts that a request names, in a service with these hosts. Returns the code of the problem.
    fn checked(version: Version, target: &str, named: &[&str], own: &[&str]) -> &'static str {
        let headers: Vec<_> = named.iter().map(|host| ("host", *host)).collect();
        let mut request = request(target, &headers);
        *request.version_mut() = version;
        check_host(&request, own).map_or_else(|problem| problem.code, |()| "")
    }

    #[test]
    fn request_names_exactly_one_host() {
        let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for (version, target, named, is_fine) in [
            (v11, "/", &["a.example"] as &[_], true),
            (v11, "/", &["a.example:8080"], true),
            (v11, "/", &["[::1]:8080"], true),
            (v11, "/", &[], false),
            (v10, "/", &[], true),
            (v11, "/", &["a.example", "a.example"], false),
            (v10, "/", &["a.example", "b.example"], false),
            (v11, "/", &[""], false),
            (v11, "/", &["a b"], false),
            (v11, "/", &["a.example/path"], false),
            (v11, "/", &["user@a.example"], false),
            (v11, "http://a.example/", &["a.example"], true),
            (v11, "http://a.example/", &["A.Example"], true),
            (v11, "http://b.example/", &["a.example"], false),
            (v11, "http://a.example:1/", &["a.example"], false),
            (v11, "http://a.example/", &[], false),
            (v11, "http://user@a.example/", &["a.example"], false),
            (v2, "http://a.example/", &[], true),
            (v2, "http://a.example/", &["b.example"], false),
        ] {
            let code = checked(version, target, named, &[]);
            let expected = if is_fine { "" } else { "bad_request" };
            assert_eq!(code, expected, "{version:?} {target} {named:?}");
        }
    }

    #[test]
    fn request_for_an_unknown_host_is_misdirected() {
        let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
        for (version, named, expected) in [
            (v11, &["api.example.org"] as &[_], ""),
            (v11, &["API.example.org:8443"], ""),
            (v11, &["localhost:8080"], ""),
            (v11, &["evil.example.org"], "misdirected"),
            (v11, &["api.example.org.evil.example"], "misdirected"),
            (v10, &[], "bad_request"),
        ] {
            let code = checked(version, "/", named, &["api.example.org", "localhost"]);
            assert_eq!(code, expected, "{named:?}");
        }
    }
}
