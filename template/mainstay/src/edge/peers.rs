//! The trusted proxies in front of the service, by `http.trusted_proxies`.
//!
//! Headers of any other peer that name the client, the id of the request or its timeout are ignored.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use crate::server::Exchange;
use crate::settings;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A network of trusted proxies. A single address is a network as well.
#[derive(Debug, Clone)]
pub(crate) struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "a network, such as `10.0.0.0/8`, or an address";
        settings::from_text(value, expected, |text| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse().or_else(|_| address()).ok().map(Self)
        })
    }
}

/// The client of a request, and whether its headers come from a trusted proxy. `None` if the request came over no
/// listener, as in a test.
pub(super) fn of(headers: &HeaderMap, trusted: &[Network]) -> Option<(IpAddr, bool)> {
    let peer = Exchange::look(|exchange| exchange.peer)?
        .ip()
        .to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.0.contains(address));
    if is_trusted(&peer) {
        Some((trace_back(peer, headers, is_trusted), true))
    } else {
        Some((peer, false))
    }
}

/// The nearest machine that is not a trusted proxy. It may have forged all hops before it.
fn trace_back(peer: IpAddr, headers: &HeaderMap, is_trusted: impl Fn(&IpAddr) -> bool) -> IpAddr {
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let lines = lines.map(|line| line.to_str().unwrap_or_default());
    // The last hop is the nearest.
    let mut hops = lines.flat_map(|line| line.rsplit(','));
    let mut nearest = peer;
    while is_trusted(&nearest) {
        let Some(hop) = hops.next().and_then(address) else {
            break;
        };
        nearest = hop.to_canonical();
    }
    nearest
}

/// Some proxies add the port.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let with_port = || hop.parse().map(|socket: SocketAddr| socket.ip());
    hop.parse().or_else(|_| with_port()).ok()
}

/// The timeout of the peer, in milliseconds.
pub(super) fn timeout(header: &HeaderValue) -> Option<Duration> {
    let text = header.to_str().ok()?;
    text.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced_back(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let networks = ["10.0.0.0/8", "192.0.2.7", "fd00::/8"].map(|text| {
            let network: Option<Network> = serde_json::from_value(text.into()).ok();
            network.unwrap()
        });
        let is_trusted =
            |address: &IpAddr| networks.iter().any(|network| network.0.contains(address));
        trace_back(peer.parse().unwrap(), &headers, is_trusted).to_string()
    }

    #[test]
    fn client_is_the_nearest_untrusted_hop() {
        for (peer, forwarded, client) in [
            ("203.0.113.9", &["1.2.3.4"] as &[_], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            (
                "10.0.0.1",
                &["1.2.3.4, 203.0.113.9,10.2.3.4"],
                "203.0.113.9",
            ),
            ("10.0.0.1", &["203.0.113.9", "192.0.2.7"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["203.0.113.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.2"], "10.0.0.2"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
        ] {
            assert_eq!(traced_back(peer, forwarded), client, "{peer} {forwarded:?}");
        }
    }
}
