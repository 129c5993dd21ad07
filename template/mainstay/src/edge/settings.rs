//! `[http]`: the public listener.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderName;
use axum::http::uri::Authority;
use garde::Validate;
use serde::{Deserialize, Deserializer};

use super::admission::Overload;
use super::origin::Origins;
use super::peers::Network;
use crate::server::Limits;
use crate::settings::{self, ByteSize, at_least};

/// `[http]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::waits_less_than_its_timeout))]
#[garde(custom(Self::takes_timeouts_of_proxies))]
pub struct Http {
    /// The address of the public listener.
    pub listen: SocketAddr,
    #[garde(custom(at_least("1ms")))]
    pub(crate) request_timeout: Duration,
    pub(crate) timeout_header: Option<Header>,
    /// The largest body of a request.
    #[garde(custom(at_least("1B")))]
    pub body_limit: ByteSize,
    /// Whether the description of the API is served.
    pub documentation: bool,
    pub(crate) hosts: Vec<Host>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) log_client: bool,
    #[garde(custom(is_share))]
    pub(crate) trace_ratio: f64,
    #[garde(dive)]
    pub(crate) origins: Origins,
    #[garde(dive)]
    pub(crate) overload: Overload,
    /// The limits of its connections.
    #[garde(dive)]
    pub limits: Limits,
}

impl Http {
    fn waits_less_than_its_timeout(&self, &(): &()) -> garde::Result {
        settings::rule(
            self.overload.max_wait < self.request_timeout,
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
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes a reference"
)]
fn is_share(ratio: &f64, &(): &()) -> garde::Result {
    settings::rule((0.0..=1.0).contains(ratio), &[], "must be from 0.0 to 1.0")
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header(pub(super) HeaderName);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "the name of a header, such as `x-request-timeout`";
        settings::from_text(value, expected, |text| text.parse().ok().map(Self))
    }
}

/// The name of a host, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host(pub(super) String);

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "a host, such as `api.example.org`, without a port";
        settings::from_text(value, expected, |text| {
            let authority: Authority = text.parse().ok()?;
            (authority.host() == text).then(|| Self(text.to_owned()))
        })
    }
}
