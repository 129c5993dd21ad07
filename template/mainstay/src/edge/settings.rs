//! `[http]`: the public listener.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderName;
use axum::http::uri::Authority;
use config::ValueKind;

use super::admission::Overload;
use super::origin::Origins;
use super::peers::Network;
use super::trace::Ratio;
use crate::server::Limits;
use crate::settings::{ByteSize, Check, Reader, Section, Setting};

/// `[http]`
#[derive(Debug, Clone)]
pub struct Http {
    /// The address of the public listener.
    pub listen: SocketAddr,
    pub(crate) request_timeout: Duration,
    pub(crate) timeout_header: Option<Header>,
    /// The largest body of a request.
    pub body_limit: ByteSize,
    /// Whether the description of the API is served.
    pub documentation: bool,
    pub(crate) hosts: Vec<Host>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) log_client: bool,
    pub(crate) trace_ratio: Ratio,
    pub(crate) origins: Origins,
    pub(crate) overload: Overload,
    /// The limits of its connections.
    pub limits: Limits,
}

impl Section for Http {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            listen: from.value("listen"),
            request_timeout: from.value("request_timeout"),
            timeout_header: from.value("timeout_header"),
            body_limit: from.value("body_limit"),
            documentation: from.value("documentation"),
            hosts: from.value("hosts"),
            trusted_proxies: from.value("trusted_proxies"),
            log_client: from.value("log_client"),
            trace_ratio: from.value("trace_ratio"),
            origins: from.part(),
            overload: from.part(),
            limits: from.part(),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            self.body_limit.0 > 0,
            &["http.body_limit"],
            "must be more than nothing",
        );
        check.that(
            !self.request_timeout.is_zero(),
            &["http.request_timeout"],
            "must be longer than nothing",
        );
        check.that(
            self.overload.wait < self.request_timeout,
            &["http.max_wait", "http.request_timeout"],
            "the first must be shorter than the second, \
             so that a request does not time out while it waits for a permit",
        );
        check.that(
            self.timeout_header.is_none() || !self.trusted_proxies.is_empty(),
            &["http.timeout_header", "http.trusted_proxies"],
            "only trusted proxies may set that header; name them",
        );
    }
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header(pub(super) HeaderName);

impl Setting for Header {
    const EXPECTED: &'static str = "the name of a header, such as `x-request-timeout`";

    fn parse(value: &ValueKind) -> Option<Self> {
        String::parse(value)?.parse().ok().map(Self)
    }
}

/// The name of a host, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host(pub(super) String);

impl Setting for Host {
    const EXPECTED: &'static str = "a host, such as `api.example.org`, without a port";

    fn parse(value: &ValueKind) -> Option<Self> {
        let text = String::parse(value)?;
        let authority: Authority = text.parse().ok()?;
        (authority.host() == text).then_some(Self(text))
    }
}
