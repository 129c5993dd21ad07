//! A part of the process that a stop takes apart.

use futures_util::future::{BoxFuture, pending};
use tokio::time::Instant;

use crate::Error;
#[cfg(feature = "_database")]
use crate::database::{Database, Engine};
use crate::operator::Observed;
use crate::server::Listener;

/// A part of the process that a stop takes apart: a server, a database, a client with connections.
///
/// It is registered with [`Process::drain_on_stop`](super::Process::drain_on_stop) or
/// [`Process::close_on_stop`](super::Process::close_on_stop), as soon as there is one. Implement it for
/// a server of your own, such as one for gRPC.
pub trait Component: Send + Sync + 'static {
    /// The name of this part in the log.
    fn name(&self) -> &str;

    /// The stop has begun, and this part still serves: ask clients to come back over another
    /// connection.
    fn announce_stop(&self) {}

    /// What this part is waiting for, for the log of a stop that takes long.
    fn pending(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends by the deadline, and gives the names of what had to be abandoned.
    fn stop(&self, deadline: Instant) -> BoxFuture<'_, Vec<String>>;

    /// Completes if this part ends without being asked to, which stops the process.
    fn failed(&self) -> BoxFuture<'_, Error> {
        Box::pin(pending())
    }

    /// The files that this part may have open at most, beside those of connections.
    fn max_files(&self) -> usize {
        0
    }

    /// What the operator sees of this part.
    fn observed(&self) -> Option<Observed> {
        None
    }
}

impl Component for Listener {
    fn name(&self) -> &str {
        self.name()
    }

    fn announce_stop(&self) {
        self.announce_close();
    }

    fn pending(&self) -> Vec<String> {
        self.watch().busy()
    }

    fn stop(&self, deadline: Instant) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            let cut = self.drain(deadline).await;
            cut.iter().map(ToString::to_string).collect()
        })
    }

    fn observed(&self) -> Option<Observed> {
        Some(Observed::Listener(self.watch()))
    }
}

#[cfg(feature = "_database")]
impl<E: Engine> Component for Database<E> {
    fn name(&self) -> &str {
        "the database"
    }

    fn pending(&self) -> Vec<String> {
        self.holders()
    }

    fn stop(&self, deadline: Instant) -> BoxFuture<'_, Vec<String>> {
        Box::pin(self.close(deadline))
    }

    fn max_files(&self) -> usize {
        self.files()
    }

    fn observed(&self) -> Option<Observed> {
        let database = self.clone();
        Some(Observed::Pools(Box::new(move || database.numbers())))
    }
}
