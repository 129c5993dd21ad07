//! The host of a request: given once, in one form, and one of `http.hosts`.
//!
//! Two different hosts in one request could make a cache or a proxy in front see another host than the service does.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Version, header};

use super::settings::Host;
use crate::problem::Problem;

/// Refuses a request that does not say which host it is for, or says two; and one for a host that is
/// not among `ours`, unless that names none.
pub(super) fn check(request: &Request, ours: &[Host]) -> Result<(), Problem> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return Err(Problem::BAD_REQUEST);
    }
    // As proxies ask, and as HTTP/2 always does.
    let target = request.uri().authority();
    if target.is_none() && ours.is_empty() && header.is_some_and(is_plain) {
        return Ok(());
    }
    let header = header.map(parse).transpose()?;
    let says_in_target = request.version() >= Version::HTTP_2;
    let host = match (target, &header) {
        (Some(target), _) if target.as_str().contains('@') => None,
        (Some(target), Some(header)) if !is_same(target, header) => None,
        (Some(target), None) if says_in_target => Some(target),
        (_, Some(header)) => Some(header),
        (_, None) => None,
    };
    match host {
        None if header.is_none() && request.version() <= Version::HTTP_10 && ours.is_empty() => {
            Ok(())
        }
        None => Err(Problem::BAD_REQUEST),
        Some(host) => {
            let is_ours = |our: &Host| our.0.eq_ignore_ascii_case(host.host());
            if ours.is_empty() || ours.iter().any(is_ours) {
                Ok(())
            } else {
                Err(Problem::MISDIRECTED)
            }
        }
    }
}

/// Refuses what the edge would refuse, unless no host is said at all: probes and operators knock by an
/// address, and often by hand.
pub(crate) fn reject_conflicting_hosts(request: &Request) -> Result<(), Problem> {
    let says = request.headers().contains_key(header::HOST) || request.uri().authority().is_some();
    if says { check(request, &[]) } else { Ok(()) }
}

/// Whether this is a host at first sight, as nearly all are: letters, digits, dots and dashes, and
/// perhaps a port.
fn is_plain(host: &HeaderValue) -> bool {
    let mut parts = host.as_bytes().splitn(2, |byte| *byte == b':');
    let name = parts.next().unwrap_or_default();
    let port = parts.next().unwrap_or(b"80");
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    !name.is_empty()
        && name.iter().all(is_of_name)
        && (1..=5).contains(&port.len())
        && port.iter().all(u8::is_ascii_digit)
}

fn parse(host: &HeaderValue) -> Result<Authority, Problem> {
    let host = Authority::try_from(host.as_bytes()).ok();
    // What comes before an `@` is no part of a host.
    let host = host.filter(|host| !host.as_str().contains('@'));
    host.ok_or(Problem::BAD_REQUEST)
}

fn is_same(one: &Authority, other: &Authority) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
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
    fn a_request_says_once_which_host_it_is_for() {
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
    fn only_hosts_that_are_ours_are_answered_for_if_any_are_named() {
        let ours = ["api.example.org", "localhost"].map(|host| Host(host.to_owned()));
        for (host, is_fine) in [
            ("api.example.org", true),
            ("API.example.org:8443", true),
            ("localhost:8080", true),
            ("evil.example.org", false),
            ("api.example.org.evil.example", false),
        ] {
            let checked = check(&request(Version::HTTP_11, "/", &[host]), &ours);
            assert_eq!(
                checked.map_err(|problem| problem.code),
                if is_fine { Ok(()) } else { Err("misdirected") },
                "{host}"
            );
        }
        let nobody = check(&request(Version::HTTP_10, "/", &[]), &ours);
        assert!(nobody.is_err());
    }
}
