//! The operator's listener: probes, metrics, the state of the process as JSON, and orders.
//!
//! It has a thread and a runtime of its own, so that it answers when the service is overloaded or its runtime
//! stalls. The watchdog runs there as well.
//!
//! It listens on this machine only, unless a token is set, which every request but a probe must then send.

#[cfg(feature = "otlp")]
mod export;
mod log_filter;
mod routes;
mod snapshot;
mod state;
mod token;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use axum::Router;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use routes::routes;
pub use state::Observed;
pub(crate) use state::OperatorState;
pub(crate) use token::Token;

use crate::server::{BindError, Bound, Limits, Sockets};
use crate::settings::{Check, Reader, Secret, Section};

/// `[operator]`
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address of the listener.
    pub listen: SocketAddr,
    pub(crate) token: Option<Secret>,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            listen: from.value("listen"),
            token: from.value("token"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        let sendable = |token: &Secret| token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        check.that(
            self.token.as_ref().is_none_or(sendable),
            &["operator.token"],
            "must be one line of visible ASCII, or no header could carry it",
        );
        check.that(
            self.may_listen(self.listen),
            &["operator.listen", "operator.token"],
            NEEDS_TOKEN,
        );
    }
}

const NEEDS_TOKEN: &str = "a listener that other machines can reach needs a token; \
     set APP__OPERATOR__TOKEN_FILE, or listen on 127.0.0.1";

impl Settings {
    /// The socket, new or inherited. It must not be reachable from other machines without a token.
    pub(crate) fn socket(&self, sockets: &mut Sockets) -> Result<Bound, OpenError> {
        let socket = sockets.take("operator", self.listen)?;
        let address = socket.address();
        if self.may_listen(address) {
            Ok(socket)
        } else {
            Err(OpenError::Open(address))
        }
    }

    fn may_listen(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback() || self.token.is_some()
    }
}

/// The operator's listener, until it is shut.
#[derive(Debug)]
pub(crate) struct Operator {
    shut: CancellationToken,
    ended: oneshot::Receiver<()>,
}

/// Why there is no listener for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the operator's socket, which was handed over, is on {0}: {NEEDS_TOKEN}")]
    Open(SocketAddr),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the operator's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// How long a request of an operator that is in flight at the very end may take.
const SHUTTING: Duration = Duration::from_millis(100);

impl Operator {
    /// Serves the routes on this socket, on a thread of its own that also runs `beside`.
    pub(crate) async fn open(
        bound: Bound,
        routes: Router,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let shut = CancellationToken::new();
        let (opened, is_open) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let told = shut.clone();
        let live = async move {
            let listener = match bound.serve(routes, &Limits::OPERATOR) {
                Ok(listener) => {
                    _ = opened.send(Ok(()));
                    listener
                }
                Err(error) => {
                    _ = opened.send(Err(error));
                    return;
                }
            };
            told.run_until_cancelled(beside).await;
            told.cancelled().await;
            _ = listener.drain(Instant::now() + SHUTTING).await;
            _ = end.send(());
        };
        #[expect(clippy::disallowed_methods, reason = "the thread is there for that")]
        thread::Builder::new()
            .name("operator".to_owned())
            .spawn(move || runtime.block_on(live))?;
        let gone = || std::io::Error::other("it has ended");
        is_open.await.map_err(|_| gone())??;
        Ok(Self { shut, ended })
    }

    /// Closes the listener.
    pub(crate) async fn shut(self) {
        self.shut.cancel();
        // Should it hang, the end of the process will not wait for it.
        _ = timeout(SHUTTING * 3, self.ended).await;
    }
}

#[cfg(test)]
mod tests;
