//! The operator's listener: the probes, the state of the process as JSON, and orders.
//!
//! It has a thread and a runtime of its own: it answers when the service's runtime is overloaded or
//! stalled, and when no more connections are accepted there. What watches over the service lives
//! there as well.
//!
//! It is meant for this machine alone. To listen anywhere else it needs a [token](Token), which every
//! request but a probe must then bring.

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

pub use routes::routes;
pub use state::{Observed, OperatorState};
pub use token::Token;

use crate::server::{BindError, Bound, Limits, Sockets};
use crate::settings::{Check, Reader, Secret, Section};

/// `[operator]`
#[derive(Debug, Clone)]
pub struct Settings {
    pub listen: SocketAddr,
    pub token: Option<Secret>,
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
    /// The socket to listen on, which may have been handed over.
    ///
    /// # Errors
    ///
    /// When it cannot be had, or others can reach it without a token.
    pub fn socket(&self, sockets: &mut Sockets) -> Result<Bound, OpenError> {
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
pub struct Operator {
    address: SocketAddr,
    shut: CancellationToken,
    ended: oneshot::Receiver<()>,
}

/// Why there is no listener for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
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
    /// Answers on this socket from now on. On the same thread, it does what is to be done `beside`.
    ///
    /// # Errors
    ///
    /// When the operating system has no thread for it.
    pub async fn open(
        bound: Bound,
        routes: Router,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let address = bound.address();
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
        Ok(Self {
            address,
            shut,
            ended,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers no more.
    pub async fn shut(self) {
        self.shut.cancel();
        // Should it hang, the end of the process will not wait for it.
        _ = timeout(SHUTTING * 3, self.ended).await;
    }
}

#[cfg(test)]
mod tests;
