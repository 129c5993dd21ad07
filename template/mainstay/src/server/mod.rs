//! Listeners: sockets that are accepted from, watched over, and emptied in the end.
//!
//! - A client cannot hold a connection by doing nothing: its first byte, the head of a request, the
//!   next request and the reading of an answer each have a time.
//! - There are never more connections than [`Limits::max_connections`]; the others wait in the
//!   backlog of the operating system. No error of `accept` ends a listener.
//! - A [drain](Listener::drain) takes no more connections, lets requests in flight finish, closes
//!   those that are idle or half open, and ends event streams, also those that nobody reads. What is not
//!   over at its deadline, upgraded connections included, is cut, counted, and named by its route.
//!
//! The loop is ours because none that exists keeps these promises: `axum::serve` waits for a client
//! with half a request for ever, and forgets a connection once it is upgraded.

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

pub use exchange::{Drain, Exchange};
pub use limits::Limits;
pub use registry::Traffic;
pub use socket::{BindError, Bound, Sockets, room_for};

use crate::telemetry::message;
use accept::{Door, accept};
use registry::Registry;

impl Bound {
    /// Starts to accept connections, on the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch the socket.
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

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For whoever looks at it without owning it.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch {
            registry: Arc::clone(&self.registry),
            address: self.address,
        }
    }

    /// From now on, every answer asks its client to come back over another connection.
    pub fn announce_close(&self) {
        self.registry.shared().announce_close();
    }

    /// Accepts no more, and waits for the requests in flight until the deadline; says what it had
    /// to cut.
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

/// Looks at a listener, whoever owns it.
#[derive(Debug, Clone)]
pub struct Watch {
    registry: Arc<Registry>,
    address: SocketAddr,
}

impl Watch {
    /// Where the listener listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is going on, in numbers.
    #[must_use]
    pub fn numbers(&self) -> Traffic {
        self.registry.traffic()
    }

    /// The routes of the requests in flight.
    #[must_use]
    pub fn busy(&self) -> Vec<String> {
        self.registry.busy()
    }
}

/// What a drain had to cut.
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
