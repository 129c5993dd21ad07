//! HTTP listeners: they accept connections, bound what clients may take, and drain.
//!
//! - A client cannot hold a connection by inactivity: the first byte, the head of a request, the next request
//!   and the reading of a response each have a timeout.
//! - There are at most [`Limits::max_connections`] connections; further ones wait in the backlog of the
//!   operating system. No error of `accept` ends a listener.
//! - A [drain](Listener::drain) accepts no more connections, lets requests in flight finish, closes idle and
//!   half-open connections, and ends event streams. At its deadline, it closes all other connections by force,
//!   upgraded ones included, and names their routes.
//!
//! `axum::serve` does not do this: it waits for a client with half a request for ever, and does not wait for
//! upgraded connections. HTTP itself is left to hyper.

mod accept;
mod connection;
mod exchange;
mod limits;
mod registry;
mod socket;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use socket2::SockRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use exchange::Drain;
pub(crate) use exchange::Exchange;
pub use limits::Limits;
pub(crate) use registry::Traffic;
pub(crate) use socket::room_for;
pub use socket::{BindError, Bound, Sockets};

use crate::telemetry::message;
use accept::Acceptor;
use registry::Registry;

impl Bound {
    /// Serves these routes on the socket, from now on. [`Process::serve`](crate::Process::serve) does this, and
    /// registers the listener for the stop.
    ///
    /// # Errors
    ///
    /// If the runtime cannot watch the socket.
    pub fn serve(self, routes: Router, limits: &Limits) -> Result<Listener, BindError> {
        let (name, address, is_inherited) = (self.name, self.address, self.is_inherited);
        let socket = self.into_tcp_listener()?;
        // Responses are written whole. Connections inherit this option from the socket.
        _ = SockRef::from(&socket).set_tcp_nodelay(true);
        let registry = Arc::new(Registry::new(limits.clone()));
        let stop = CancellationToken::new();
        let acceptor = Acceptor {
            name,
            is_inherited,
            // Without this call, axum would build the layers again for each request.
            routes: routes.with_state(()),
            registry: Arc::clone(&registry),
        };
        // It ends before the drain begins.
        #[expect(clippy::disallowed_methods)]
        tokio::spawn(acceptor.run(socket, stop.clone()));
        tracing::info!(message = message::LISTENING, listener = name, %address);
        Ok(Listener {
            name,
            address,
            registry,
            stop,
        })
    }
}

/// A listener that accepts connections. All clones are the same.
#[derive(Clone)]
pub struct Listener {
    name: &'static str,
    address: SocketAddr,
    registry: Arc<Registry>,
    /// Cancelled to accept no more connections.
    stop: CancellationToken,
}

impl Listener {
    /// The name of this listener.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The address of the listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds the traffic of this listener.
    pub(crate) fn add_to(&self, traffic: &mut Traffic) {
        self.registry.add_to(traffic);
    }

    /// The routes of the requests in flight, with their numbers.
    pub(crate) fn routes_in_flight(&self) -> Vec<String> {
        self.registry.routes()
    }

    /// From now on, each response asks the client to use another connection for its next request.
    pub(crate) fn announce_close(&self) {
        self.registry.is_closing.store(true, Ordering::Relaxed);
    }

    /// Accepts no more connections, and waits for the requests in flight until the deadline. Returns a
    /// description of the connections that it had to close by force, with their routes.
    pub async fn drain(&self, deadline: Instant) -> Option<String> {
        let registry = &self.registry;
        self.announce_close();
        self.stop.cancel();
        // The socket closes first: clients that reconnect reach another process.
        registry.draining.cancelled().await;
        registry.close_connections();
        let is_empty = tokio::select! {
            is_empty = registry.is_empty_by(deadline) => is_empty,
            never = registry.enforce_deadlines() => match never {},
        };
        if is_empty {
            return None;
        }
        let (routes, connections) = (registry.routes(), registry.cut(deadline).await);
        let plural = if connections == 1 { "" } else { "s" };
        let cut = format!("{connections} {} connection{plural}", self.name);
        if routes.is_empty() {
            return Some(cut);
        }
        Some(format!("{cut} ({})", routes.join("; ")))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({} on {})", self.name, self.address)
    }
}

#[cfg(test)]
mod tests;
