//! The host of a request: named once, and one of `http.hosts`.
//!
//! Two different hosts in one request could make a cache or a proxy in front see another host than the service does.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Version, header};

use super::settings::Host;
use crate::problem::Problem;

/// Refuses a request that names no host, or two, or one that is not in `hosts`. An empty list allows all hosts. HTTP/1.0
/// may name none (RFC 9112, 3.2).
pub(super) fn check(request: &Request, hosts: &[Host]) -> Result<(), Problem> {
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
    if own.any(|own| own.0.eq_ignore_ascii_case(host.host())) {
        Ok(())
    } else {
        Err(Problem::MISDIRECTED)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(version: Version, target: &str, hosts: &[&str]) -> Request {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn request_names_exactly_one_host() {
        for (version, target, hosts, is_fine) in [
            (Version::HTTP_11, "/", &["a.example"] as &[_], true),
            (Version::HTTP_11, "/", &["a.example:8080"], true),
            (Version::HTTP_11, "/", &["[::1]:8080"], true),
            (Version::HTTP_11, "/", &[], false),
            (Version::HTTP_10, "/", &[], true),
            (Version::HTTP_11, "/", &["a.example", "a.example"], false),
            (Version::HTTP_10, "/", &["a.example", "b.example"], false),
            (Version::HTTP_11, "/", &[""], false),
            (Version::HTTP_11, "/", &["a b"], false),
            (Version::HTTP_11, "/", &["a.example/path"], false),
            (Version::HTTP_11, "/", &["user@a.example"], false),
            (Version::HTTP_11, "http://a.example/", &["a.example"], true),
            (Version::HTTP_11, "http://a.example/", &["A.Example"], true),
            (Version::HTTP_11, "http://b.example/", &["a.example"], false),
            (
                Version::HTTP_11,
                "http://a.example:1/",
                &["a.example"],
                false,
            ),
            (Version::HTTP_11, "http://a.example/", &[], false),
            (
                Version::HTTP_11,
                "http://user@a.example/",
                &["a.example"],
                false,
            ),
            (Version::HTTP_2, "http://a.example/", &[], true),
            (Version::HTTP_2, "http://a.example/", &["b.example"], false),
        ] {
            let checked = check(&request(version, target, hosts), &[]);
            assert_eq!(
                checked.map_err(|problem| problem.code),
                if is_fine { Ok(()) } else { Err("bad_request") },
                "{version:?} {target} {hosts:?}"
            );
        }
    }

    #[test]
    fn request_for_an_unknown_host_is_misdirected() {
        let hosts = ["api.example.org", "localhost"].map(|host| Host(host.to_owned()));
        for (host, is_fine) in [
            ("api.example.org", true),
            ("API.example.org:8443", true),
            ("localhost:8080", true),
            ("evil.example.org", false),
            ("api.example.org.evil.example", false),
        ] {
            let checked = check(&request(Version::HTTP_11, "/", &[host]), &hosts);
            assert_eq!(
                checked.map_err(|problem| problem.code),
                if is_fine { Ok(()) } else { Err("misdirected") },
                "{host}"
            );
        }
        let without_host = check(&request(Version::HTTP_10, "/", &[]), &hosts);
        assert!(without_host.is_err());
    }
}
