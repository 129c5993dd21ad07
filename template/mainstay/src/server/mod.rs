//! HTTP listeners.
//!
//! - A client cannot hold a connection by inactivity: the head of a request, the next request and the reading of a
//!   response each have a timeout.
//! - There are at most [`Limits::max_connections`] connections; further ones wait in the backlog of the
//!   operating system. No error of `accept` ends a listener.
//! - A [drain](Listener::drain) accepts no more connections, lets requests in flight finish, closes idle and
//!   half-open connections, and ends event streams. At its deadline, it closes all other connections by force,
//!   upgraded ones included, and names their routes.
//!
//! `axum::serve` waits for a client with half a request for ever, and does not wait for upgraded connections. HTTP itself
//! is left to hyper.

mod accept;
mod connection;
mod exchange;
mod socket;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use garde::Validate;
use serde::{Deserialize, Serialize};
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

pub use exchange::Drain;
pub(crate) use exchange::Exchange;
pub(crate) use socket::room_for;
pub use socket::{Bound, Sockets};

use crate::panics::lock;
use crate::settings::{ByteSize, at_least, whole_number, within};
use crate::telemetry::message;
use connection::Connection;

/// How long after the deadline of a drain connections that were cut may take to end.
const CUT_TIME: Duration = Duration::from_millis(900);

/// The limits of a listener for each client, and for all of them together.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[allow(missing_docs, reason = "the keys are described beside their defaults")]
pub struct Limits {
    // The first one counts from the accept of its connection.
    #[garde(custom(at_least("1ms")))]
    pub header_timeout: Duration,
    #[garde(custom(at_least("1ms")))]
    pub idle_timeout: Duration,
    #[garde(custom(at_least("1ms")))]
    pub write_timeout: Duration,
    #[serde(deserialize_with = "whole_number::<1, 1_000_000, _, _>")]
    pub max_connections: usize,
    #[garde(custom(within("8KiB", "1MiB")))]
    pub header_limit: ByteSize,
    pub http2: bool,
}

impl Limits {
    /// The limits of the operator's listener.
    pub const OPERATOR: Self = Self {
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(30),
        max_connections: 64,
        header_limit: ByteSize(32 * 1024),
        http2: false,
    };

    /// The time between two sweeps: a tenth of the shortest deadline, within reason.
    fn tick(&self) -> Duration {
        let shortest = self.header_timeout.min(self.idle_timeout);
        let tick = shortest.min(self.write_timeout) / 10;
        tick.clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

impl Bound {
    /// Serves these routes on the socket, from now on. [`Process::serve`](crate::Process::serve) does this, and
    /// registers the listener for the stop.
    pub fn serve(self, routes: Router, limits: &Limits) -> io::Result<Listener> {
        let (name, address) = (self.name, self.address);
        let socket = TcpListener::from_std(self.socket)?;
        // Responses are written whole. Connections inherit this option from the socket.
        _ = SockRef::from(&socket).set_tcp_nodelay(true);
        let registry = Arc::new(Registry {
            name,
            address,
            // Without this call, axum would build the layers again for each request.
            routes: routes.with_state(()),
            limits: limits.clone(),
            permits: Arc::new(Semaphore::new(limits.max_connections)),
            open: Mutex::default(),
            stop: CancellationToken::new(),
            draining: CancellationToken::new(),
            is_closing: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
        });
        #[expect(clippy::disallowed_methods, reason = "it ends before the drain begins")]
        tokio::spawn(Arc::clone(&registry).accept(socket, self.is_inherited));
        tracing::info!(message = message::LISTENING, listener = name, %address);
        Ok(Listener(registry))
    }
}

/// A listener that accepts connections. Clones share it.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "`Router` has no short one")]
pub struct Listener(Arc<Registry>);

impl Listener {
    /// The name in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The address, with the port that it has in fact.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// From now on, each response has `Connection: close`.
    pub(crate) fn announce_close(&self) {
        self.0.is_closing.store(true, Relaxed);
    }

    /// Accepts no more connections, and waits for the requests in flight until the deadline. Describes the connections
    /// that it had to close by force, with their routes.
    pub async fn drain(&self, deadline: Instant) -> Option<String> {
        let registry = &self.0;
        self.announce_close();
        registry.stop.cancel();
        // The socket closes first: clients that reconnect reach another process.
        registry.draining.cancelled().await;
        for connection in registry.connections() {
            connection.close.notify_one();
        }
        let is_empty = tokio::select! {
            is_empty = registry.is_empty_by(deadline) => is_empty,
            never = registry.enforce_deadlines() => match never {},
        };
        if is_empty {
            return None;
        }
        let (routes, connections) = (self.routes_in_flight().join("; "), registry.connections());
        registry.is_cut.store(true, Relaxed);
        for connection in &connections {
            connection.cut();
        }
        // Each request logs its event. A handler that blocks its thread does not end.
        registry.is_empty_by(deadline + CUT_TIME).await;
        let (count, name) = (connections.len(), self.name());
        let plural = if count == 1 { "" } else { "s" };
        Some(format!("{count} {name} connection{plural} ({routes})"))
    }

    pub(crate) fn routes_in_flight(&self) -> Vec<String> {
        let mut routes = BTreeMap::<_, usize>::new();
        for route in self.0.connections().iter().flat_map(|it| it.routes()) {
            *routes.entry(route).or_default() += 1;
        }
        let named = routes.into_iter().map(|(route, count)| match count {
            1 => route,
            _ => format!("{route} ×{count}"),
        });
        named.collect()
    }

    pub(crate) fn add_to(&self, traffic: &mut Traffic) {
        let open = self.0.open();
        traffic.connections += open.connections.len();
        traffic.accepted += open.totals.accepted;
        traffic.requests += open.totals.requests;
        for (reason, count) in &open.totals.closed {
            *traffic.closed.entry(reason).or_default() += count;
        }
        for connection in open.connections.values() {
            let state = lock(&connection.state);
            traffic.requests += state.total;
            traffic.in_flight += state.in_flight();
        }
    }
}

/// The traffic of a listener, or of all of them.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Traffic {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) accepted: u64,
    pub(crate) requests: u64,
    /// The connections that were closed because of their client, by reason.
    pub(crate) closed: BTreeMap<&'static str, u64>,
}

/// What a listener shares with its connections. Once a tick, a sweep over them enforces the deadlines. So a request costs
/// neither a timer nor a look at the clock, and a connection cannot stay in a state without a timer.
struct Registry {
    name: &'static str,
    address: SocketAddr,
    routes: Router,
    limits: Limits,
    /// One for each open connection.
    permits: Arc<Semaphore>,
    open: Mutex<Open>,
    stop: CancellationToken,
    /// The socket is closed, and the drain begins.
    draining: CancellationToken,
    is_closing: AtomicBool,
    is_cut: AtomicBool,
}

#[derive(Default)]
struct Open {
    connections: HashMap<u64, Arc<Connection>>,
    /// Each open connection counts its own requests, so that threads do not write to one place with every request.
    totals: Traffic,
}

impl Registry {
    async fn enforce_deadlines(&self) -> Infallible {
        let mut sweep = interval(self.limits.tick());
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            sweep.tick().await;
            for connection in self.connections() {
                if let Some(reason) = connection.sweep() {
                    *self.open().totals.closed.entry(reason).or_default() += 1;
                }
            }
        }
    }

    async fn is_empty_by(&self, deadline: Instant) -> bool {
        let all = u32::try_from(self.limits.max_connections).unwrap_or(u32::MAX);
        let empty = self.permits.acquire_many(all);
        timeout_at(deadline, empty).await.is_ok()
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        self.open().connections.values().cloned().collect()
    }

    /// Never called with the lock of a connection held.
    fn open(&self) -> MutexGuard<'_, Open> {
        lock(&self.open)
    }
}

#[cfg(test)]
mod tests;
