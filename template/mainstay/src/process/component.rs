//! Components: the parts of a process that a stop ends.

use futures_util::future::BoxFuture;
use tokio::time::Instant;

#[cfg(feature = "_database")]
use crate::database::{Database, Engine};
use crate::operator::Numbers;
use crate::server::Listener;

/// A part of the process that a stop ends: a server, a database, a client with connections.
///
/// Register it with [`Process::drain_on_stop`](super::Process::drain_on_stop) or
/// [`Process::close_on_stop`](super::Process::close_on_stop) as soon as it exists. Implement the trait for a
/// server of your own, such as one for gRPC.
pub trait Component: Send + Sync + 'static {
    /// The name of the component in the log.
    fn name(&self) -> &str;

    /// Called when the stop begins, while the component still serves. A server may ask its clients to reconnect
    /// elsewhere.
    fn announce_stop(&self) {}

    /// What the component waits for. The log of a long stop names it.
    fn pending(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends the component by the deadline. Returns the names of what it had to abandon.
    fn stop(&self, deadline: Instant) -> BoxFuture<'_, Vec<String>>;

    /// Adds the numbers that the operator sees. A component that wraps a [`Listener`] or a `Database` passes the
    /// call on.
    fn observe(&self, _numbers: &mut Numbers) {}
}

impl Component for Listener {
    fn name(&self) -> &str {
        self.name()
    }

    fn announce_stop(&self) {
        self.announce_close();
    }

    fn pending(&self) -> Vec<String> {
        self.routes_in_flight()
    }

    fn stop(&self, deadline: Instant) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move { self.drain(deadline).await.into_iter().collect() })
    }

    fn observe(&self, numbers: &mut Numbers) {
        self.add_to(numbers.http.get_or_insert_default());
    }
}

#[cfg(feature = "_database")]
impl<E: Engine> Component for Database<E> {
    fn name(&self) -> &str {
        self.name()
    }

    fn pending(&self) -> Vec<String> {
        self.holders()
    }

    fn stop(&self, deadline: Instant) -> BoxFuture<'_, Vec<String>> {
        Box::pin(self.close(deadline))
    }

    fn observe(&self, numbers: &mut Numbers) {
        let pools = numbers.database.get_or_insert_default();
        pools.extend(self.status());
    }
}
