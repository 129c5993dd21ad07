//! HTTP listeners: they accept connections, bound what clients may take, and drain.
//!
//! - A client cannot hold a connection by inactivity: the first byte, the head of a request, the next request
//!   and the reading of an answer each have a timeout.
//! - There are at most [`Limits::max_connections`] connections; further ones wait in the backlog of the
//!   operating system. No error of `accept` ends a listener.
//! - A [drain](Listener::drain) accepts no more connections, lets requests in flight finish, closes idle and
//!   half-open connections, and ends event streams, also those that no client reads. At its deadline, it closes
//!   all other connections by force, upgraded ones included, and names their routes.
//!
//! `axum::serve` does not do this: it waits for a client with half a request for ever, and forgets a connection
//! once it is upgraded.

mod accept;
mod connection;
mod conversation;
mod exchange;
mod limits;
mod registry;
mod shared;
mod socket;
mod stream;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use socket2::SockRef;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use exchange::Drain;
pub(crate) use exchange::Exchange;
pub use limits::Limits;
pub(crate) use registry::Traffic;
pub(crate) use socket::room_for;
pub use socket::{BindError, Bound, Sockets};

use crate::telemetry::message;
use accept::{Door, accept};
use registry::Registry;

impl Bound {
    /// Serves these routes on the socket, from now on. [`Process::serve`](crate::Process::serve) does this, and
    /// registers the listener for the stop.
    ///
    /// # Errors
    ///
    /// If the runtime cannot watch the socket.
    pub fn serve(self, routes: Router, limits: &Limits) -> Result<Listener, BindError> {
        let (name, address) = (self.name(), self.address());
        let registry = Arc::new(Registry::new(limits.clone()));
        let stop = CancellationToken::new();
        // What axum would else do for each request anew.
        let routes = routes.with_state(());
        let door = Door::new(name, self.is_inherited(), routes, Arc::clone(&registry));
        let socket = self.into_tcp_listener()?;
        // An answer is written whole: nothing is gained by waiting for more of it. The connections
        // have this from the socket that they came in by.
        _ = SockRef::from(&socket).set_tcp_nodelay(true);
        // The handle is kept, and awaited by `drain`.
        #[expect(clippy::disallowed_methods)]
        let task = tokio::spawn(accept(socket, door, stop.clone()));
        tracing::info!(message = message::LISTENING, listener = name, %address);
        Ok(Listener {
            name,
            address,
            registry,
            stop,
            task: Mutex::new(Some(task)),
        })
    }
}

/// A listener that accepts connections.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    address: SocketAddr,
    registry: Arc<Registry>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
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

    /// Observes the listener without owning it.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            registry: Arc::clone(&self.registry),
            address: self.address,
        }
    }

    /// From now on, each answer asks the client to use another connection for its next request.
    pub(crate) fn announce_close(&self) {
        self.registry.shared().announce_close();
    }

    /// Accepts no more connections, and waits for the requests in flight until the deadline. Returns what it
    /// had to close by force.
    pub async fn drain(&self, deadline: Instant) -> Option<Cut> {
        // The socket is closed before anybody is told to come back over another connection.
        self.stop.cancel();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            _ = task.await;
        }
        self.registry.drain();
        // Whoever accepts has kept the deadlines so far.
        let is_empty = tokio::select! {
            is_empty = self.registry.emptied_by(deadline) => is_empty,
            never = self.registry.sweep_on() => match never {},
        };
        if is_empty {
            return None;
        }
        let cut = Cut {
            listener: self.name,
            connections: self.registry.open(),
            routes: self.registry.busy(),
        };
        self.registry.cut().await;
        Some(cut)
    }
}

/// Observes a listener.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    registry: Arc<Registry>,
    address: SocketAddr,
}

impl Watch {
    /// The address of the listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The traffic so far.
    pub(crate) fn numbers(&self) -> Traffic {
        self.registry.traffic()
    }

    /// The routes of the requests in flight.
    pub(crate) fn busy(&self) -> Vec<String> {
        self.registry.busy()
    }
}

/// The connections that a drain had to close by force. `Display` names the listener and the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    listener: &'static str,
    connections: usize,
    routes: Vec<String>,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.connections == 1 { "" } else { "s" };
        let Self {
            listener,
            connections,
            routes,
        } = self;
        write!(f, "{connections} {listener} connection{plural}")?;
        if routes.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", routes.join("; "))
    }
}

#[cfg(test)]
mod tests;
