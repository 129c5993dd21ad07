//! The settings of the public listener.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, uri::Authority};
use garde::Validate;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use crate::server::Limits;
use crate::settings::{self, ByteSize, at_least, whole_number};

/// `[http]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::waits_less_than_its_timeout))]
#[garde(custom(Self::takes_timeouts_of_proxies))]
#[garde(custom(Self::has_origins_for_credentials))]
#[expect(clippy::struct_excessive_bools, reason = "they are settings")]
#[allow(missing_docs, reason = "the keys are described beside their defaults")]
pub struct Http {
    pub listen: SocketAddr,
    #[garde(custom(at_least("1ms")))]
    pub(crate) request_timeout: Duration,
    #[garde(inner(custom(is_header)))]
    pub(crate) timeout_header: Option<String>,
    #[garde(custom(at_least("1B")))]
    pub body_limit: ByteSize,
    pub documentation: bool,
    #[serde(deserialize_with = "whole_number::<1, 1_000_000, _, _>")]
    pub(crate) max_in_flight: usize,
    pub(crate) max_waiting: usize,
    pub(crate) max_wait: Duration,
    #[garde(inner(custom(is_host)))]
    pub(crate) hosts: Vec<String>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) log_client: bool,
    #[garde(custom(is_share))]
    pub(crate) trace_ratio: f64,
    pub(crate) allowed_origins: Vec<Origin>,
    pub(crate) allow_credentials: bool,
    pub(crate) refuse_other_origins: bool,
    #[garde(dive)]
    pub limits: Limits,
}

impl Http {
    fn waits_less_than_its_timeout(&self, &(): &()) -> garde::Result {
        settings::rule(
            self.max_wait < self.request_timeout,
            &["max_wait", "request_timeout"],
            "the first must be shorter than the second, \
             so that a request does not time out while it waits for a permit",
        )
    }

    fn takes_timeouts_of_proxies(&self, &(): &()) -> garde::Result {
        settings::rule(
            self.timeout_header.is_none() || !self.trusted_proxies.is_empty(),
            &["timeout_header", "trusted_proxies"],
            "only trusted proxies may set that header; name them",
        )
    }

    fn has_origins_for_credentials(&self, &(): &()) -> garde::Result {
        settings::rule(
            !self.allow_credentials || !self.allowed_origins.is_empty(),
            &["allow_credentials", "allowed_origins"],
            "there is no origin that may send credentials; name the origins that may",
        )
    }
}

/// The origin of a page, as browsers send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin(pub(super) HeaderValue);

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

/// A network of trusted proxies. A single address is a network as well.
#[derive(Debug, Clone)]
pub(crate) struct Network(pub(super) IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "a network, such as `10.0.0.0/8`, or an address";
        settings::from_text(value, expected, |text| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse().or_else(|_| address()).ok().map(Self)
        })
    }
}

fn is_share(ratio: &f64, &(): &()) -> garde::Result {
    settings::rule((0.0..=1.0).contains(ratio), &[], "must be from 0.0 to 1.0")
}

fn is_header(name: &str, &(): &()) -> garde::Result {
    let expected = "expected the name of a header, such as `x-request-timeout`";
    settings::rule(name.parse::<HeaderName>().is_ok(), &[], expected)
}

fn is_host(host: &str, &(): &()) -> garde::Result {
    let authority = host.parse::<Authority>();
    let is_host = authority.is_ok_and(|authority| authority.host() == host);
    let expected = "expected a host, such as `api.example.org`, without a port";
    settings::rule(is_host, &[], expected)
}
