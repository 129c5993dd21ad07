//! The context of a request: its id, its trace, its client and its deadline.
//!
//! Only the proxies of `http.trusted_proxies` may set them. The headers of any other peer are ignored.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use super::Http;
use super::settings::Network;
use crate::context::{REQUEST_ID, RequestContext, RequestId, Trace};
use crate::server::Exchange;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

pub(super) fn context(request: &Request, started: Instant, http: &Http) -> RequestContext {
    let headers = request.headers();
    let peer = Exchange::look(|exchange| exchange.peer().ip().to_canonical());
    let trusted = &http.trusted_proxies;
    let is_proxy = peer.is_some_and(|peer| is_trusted(peer, trusted));
    let of_proxy = |name: &str| is_proxy.then(|| headers.get(name)).flatten();
    let id = of_proxy(REQUEST_ID.as_str()).and_then(RequestId::given);
    let timeout = http.timeout_header.as_deref().and_then(of_proxy);
    let timeout = timeout.and_then(|header| header.to_str().ok()?.parse().ok());
    let timeout = timeout.map_or(Duration::MAX, Duration::from_millis);
    let trace = Trace::of(headers, is_proxy, http.trace_ratio);
    let client = if is_proxy {
        peer.map(|proxy| trace_back(proxy, headers, trusted))
    } else {
        peer
    };
    RequestContext {
        id: id.unwrap_or_else(RequestId::next),
        trace: trace.map(Arc::new),
        client,
        deadline: started + http.request_timeout.min(timeout),
    }
}

/// The nearest machine that is not a trusted proxy. It may have forged all hops before it.
fn trace_back(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let mut nearest = peer;
    // The last hop is the nearest.
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let lines = lines.map(|line| line.to_str().unwrap_or_default());
    let mut hops = lines.flat_map(|line| line.rsplit(','));
    while is_trusted(nearest, trusted)
        && let Some(hop) = hops.next().and_then(address)
    {
        nearest = hop.to_canonical();
    }
    nearest
}

fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.0.contains(&address))
}

/// Some proxies add the port.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let with_port = || hop.parse().map(|socket: SocketAddr| socket.ip());
    hop.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced_back(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8", "192.0.2.7", "fd00::/8"].map(|text| {
            let network: Option<Network> = serde_json::from_value(text.into()).ok();
            network.unwrap()
        });
        trace_back(peer.parse().unwrap(), &headers, &trusted).to_string()
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
