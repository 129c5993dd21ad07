//! The accept loop: one task per listener, which accepts connections and enforces their deadlines.

use std::convert::Infallible;
use std::future::pending;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::exchange::answer;
use super::limits::Limits;
use super::registry::Registry;
use super::stream::Stream;

/// The pause after a failed `accept`, for example when no file descriptor is free.
const BACKOFF: Duration = Duration::from_millis(100);

/// The shortest time between two log events about failed accepts.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The most streams that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 200;

/// The interval of HTTP/2 pings, and the time in which the client must answer one.
const PING: Duration = Duration::from_secs(20);

/// Accepts connections, and serves each in a task of its own.
pub(super) struct Acceptor {
    name: &'static str,
    /// Whether systemd passed the socket. Its backlog then waits for the next process.
    is_inherited: bool,
    routes: Router,
    registry: Arc<Registry>,
    permits: Arc<Semaphore>,
    http1: http1::Builder,
    /// Serves HTTP/1 and HTTP/2, if HTTP/2 is enabled. Its `http1_only` has no effect where upgrades are allowed.
    http2: Option<auto::Builder<TokioExecutor>>,
}

impl Acceptor {
    pub(super) fn new(
        name: &'static str,
        is_inherited: bool,
        routes: Router,
        registry: Arc<Registry>,
    ) -> Self {
        let limits = &registry.shared.limits;
        Self {
            name,
            is_inherited,
            // Without this call, axum would build the layers again for each request.
            routes: routes.with_state(()),
            permits: Arc::new(Semaphore::new(limits.max_connections)),
            http1: http1_builder(limits),
            http2: limits.http2.then(|| http2_builder(limits)),
            registry,
        }
    }

    /// Accepts connections until `stop` is cancelled, then those in the backlog. Then it closes the socket.
    pub(super) async fn run(self, socket: TcpListener, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            never = self.accept_connections(&socket) => match never {},
            never = self.registry.enforce_deadlines() => match never {},
        }
        if !self.is_inherited
            && let Ok(socket) = socket.into_std()
        {
            self.empty_backlog(&socket);
        }
    }

    /// Accepts connections. At the connection limit, clients wait in the backlog of the operating system.
    async fn accept_connections(&self, socket: &TcpListener) -> Infallible {
        let mut logged: Option<Instant> = None;
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                // The semaphore is never closed.
                return pending().await;
            };
            match socket.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, permit),
                // This client has left. Accept the next one at once.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted
                            | ErrorKind::ConnectionRefused
                            | ErrorKind::ConnectionReset
                            | ErrorKind::Interrupted
                    ) => {}
                // Probably no file descriptor is free, and the next attempt would fail at once.
                Err(error) => {
                    if logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
                        logged = Some(Instant::now());
                        tracing::error!(listener = self.name, %error, "cannot accept connections");
                    }
                    sleep(BACKOFF).await;
                }
            }
        }
    }

    /// Serves the established connections in the backlog. Closing the socket would reset them.
    fn empty_backlog(&self, socket: &std::net::TcpListener) {
        while let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            let (stream, peer) = match socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                // The backlog is empty.
                Err(_) => return,
            };
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.serve(stream, peer, permit);
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let (connection, closing) = self.registry.enter(stream, peer);
        let io = TokioIo::new(Stream::new(
            Arc::clone(&self.registry),
            Arc::clone(&connection),
            permit,
        ));
        let (routes, served) = (self.routes.clone(), Arc::clone(&connection));
        let service = service_fn(move |request| answer(&routes, &served, request));
        if let Some(builder) = &self.http2 {
            let http = builder.serve_connection_with_upgrades(io, service);
            let shut_down = auto::UpgradeableConnection::graceful_shutdown;
            spawn(&connection, closing, http.into_owned(), shut_down);
        } else {
            let http = self.http1.serve_connection(io, service).with_upgrades();
            let shut_down = http1::UpgradeableConnection::graceful_shutdown;
            spawn(&connection, closing, http, shut_down);
        }
    }
}

fn spawn<H: Future<Output: Send> + Send + 'static>(
    connection: &Arc<Connection>,
    closing: oneshot::Receiver<()>,
    http: H,
    shut_down: fn(Pin<&mut H>),
) {
    // Boxed, so that `spawn` moves a pointer instead of the whole future.
    let http = Box::pin(http);
    let served = Arc::clone(connection);
    // The registry waits for every connection, and can abort its task.
    #[expect(clippy::disallowed_methods)]
    let task = tokio::spawn(async move { served.run(http, closing, shut_down).await });
    _ = connection.task.set(task.abort_handle());
}

// The builders set limits of size. The registry enforces the time limits.

/// Leaves `pipeline_flush` off. With it, hyper never writes a response that ends the connection (431), and
/// buffers a response that the client does not read, however large.
fn http1_builder(limits: &Limits) -> http1::Builder {
    let head = limits.header_limit.0;
    let mut builder = http1::Builder::new();
    builder.max_header_size(head).max_buf_size(head);
    builder
}

fn http2_builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let head = limits.header_limit.0;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}
