//! The operator's listener: probes, metrics, the state of the process as JSON, and control of its tasks and its log.
//!
//! It has a thread and a runtime of its own, so that it answers when the service is overloaded or its runtime
//! stalls. The watchdog runs on the same thread.
//!
//! Without a token, it listens only on a loopback address. With one, every request except a probe must send it.

mod routes;
mod state;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use axum::Router;
use garde::Validate;
use serde::Deserialize;
use tokio::runtime::Builder;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use routes::routes;
pub use state::Numbers;
pub(crate) use state::OperatorState;

use crate::Error;
use crate::server::{Bound, Limits, Sockets};
use crate::settings::{self, Secret};

const NEEDS_TOKEN: &str = "a listener that other machines can reach needs a token; \
     set APP__OPERATOR__TOKEN_FILE, or listen on 127.0.0.1";

/// `[operator]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::has_token_if_reachable))]
pub struct Settings {
    /// The address of the listener.
    pub listen: SocketAddr,
    #[garde(inner(custom(fits_in_header)))]
    pub(crate) token: Option<Secret>,
}

fn fits_in_header(token: &Secret, &(): &()) -> garde::Result {
    settings::rule(
        token.expose().bytes().all(|byte| byte.is_ascii_graphic()),
        &[],
        "must be one line of visible ASCII, so that a header can carry it",
    )
}

impl Settings {
    fn has_token_if_reachable(&self, &(): &()) -> garde::Result {
        let may_listen = self.may_listen(self.listen);
        settings::rule(may_listen, &["listen", "token"], NEEDS_TOKEN)
    }

    /// Binds the socket, or takes the inherited one. Fails if other machines can reach it and there is no token.
    pub(crate) fn socket(&self, sockets: &mut Sockets) -> Result<Bound, Error> {
        let socket = sockets.take("operator", self.listen)?;
        let address = socket.address();
        if self.may_listen(address) {
            Ok(socket)
        } else {
            let problem = "the inherited socket of the operator's listener is on";
            Err(format!("{problem} {address}: {NEEDS_TOKEN}").into())
        }
    }

    fn may_listen(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback() || self.token.is_some()
    }
}

/// How long the listener waits for requests in flight when it closes.
const DRAIN: Duration = Duration::from_millis(100);

/// Serves the routes on a thread of its own, which also runs the `background` work. Dropping the guard ends both and
/// closes the listener.
pub(crate) fn open(
    socket: Bound,
    routes: Router,
    background: impl Future<Output = ()> + Send + 'static,
) -> Result<DropGuard, Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let served = {
        let _entered = runtime.enter();
        socket.serve(routes, &Limits::OPERATOR)
    };
    let listener = match served {
        Ok(listener) => listener,
        Err(error) => {
            // Dropping a runtime blocks, which async code must not do.
            runtime.shutdown_background();
            return Err(error.into());
        }
    };
    let close = CancellationToken::new();
    let closed = close.clone();
    let run = async move {
        closed.run_until_cancelled(background).await;
        closed.cancelled().await;
        _ = listener.drain(Instant::now() + DRAIN).await;
    };
    #[expect(clippy::disallowed_methods, reason = "the thread runs a runtime")]
    thread::Builder::new()
        .name("operator".to_owned())
        .spawn(move || runtime.block_on(run))?;
    Ok(close.drop_guard())
}

#[cfg(test)]
mod tests;
