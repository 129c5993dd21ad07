//! Listeners: bind, serve, drain.
//!
//! A listener that cannot be bound is named with its address. A stop lets requests in flight
//! finish until its deadline, and then goes on without them.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::telemetry::message;

/// A socket that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("the {listener} listener cannot bind {address} ({listener}.listen): {cause}")]
pub struct BindError {
    listener: &'static str,
    address: SocketAddr,
    cause: std::io::Error,
}

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Bound {
    name: &'static str,
    socket: TcpListener,
    address: SocketAddr,
}

/// Binds the socket of a listener; port 0 lets the operating system choose.
///
/// # Errors
///
/// When the address is taken, not of this machine, or not allowed.
pub async fn bind(name: &'static str, address: SocketAddr) -> Result<Bound, BindError> {
    let failed = |cause| BindError {
        listener: name,
        address,
        cause,
    };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(Bound {
        name,
        socket,
        address,
    })
}

impl Bound {
    /// Starts to accept connections.
    #[must_use]
    pub fn serve(self, routes: Router) -> Listener {
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = axum::serve(self.socket, routes).with_graceful_shutdown(stopped);
        // The handle is kept, and awaited by `drain`: not a detached task.
        #[expect(clippy::disallowed_methods)]
        let task = tokio::spawn(serving.into_future());
        tracing::info!(message = message::LISTENING, listener = self.name, address = %self.address);
        Listener {
            name: self.name,
            stop,
            task,
        }
    }
}

/// A listener that accepts connections.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Listener {
    /// Accepts no more, and waits for the requests in flight; says what it left at the deadline.
    pub async fn drain(self, deadline: Duration) -> Option<String> {
        self.stop.cancel();
        let drained = tokio::time::timeout(deadline, self.task).await;
        drained
            .is_err()
            .then(|| format!("{} connections", self.name))
    }
}
