//! The accept loop. Each connection has a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::Registry;
use super::connection::Stream;
use super::exchange::answer;

/// The pause after a failed `accept`, for example when no file descriptor is free.
const BACKOFF: Duration = Duration::from_millis(100);

const LOG_INTERVAL: Duration = Duration::from_mins(1);

impl Registry {
    /// Accepts connections until the stop, then those in the backlog. Then it closes the socket, and begins the drain.
    /// An inherited socket keeps its backlog for the next process.
    pub(super) async fn accept(self: Arc<Self>, socket: TcpListener, is_inherited: bool) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = self.accept_connections(&socket) => {}
            never = self.enforce_deadlines() => match never {},
        }
        if let Ok(socket) = socket.into_std()
            && !is_inherited
        {
            // The close of the socket would reset the established connections in the backlog.
            while let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned()
                && let Ok((stream, peer)) = socket.accept()
            {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    self.serve(stream, peer, permit);
                }
            }
        }
        self.draining.cancel();
    }

    /// Accepts connections for ever, since the semaphore is never closed.
    async fn accept_connections(self: &Arc<Self>, socket: &TcpListener) {
        let mut logged: Option<Instant> = None;
        while let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            match socket.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, permit),
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

    /// The limits of hyper are those of size. The sweep enforces the time limits.
    fn serve(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let stream = Stream::enter(self, socket, peer, permit);
        let connection = &Arc::clone(&stream.connection);
        let (io, served) = (TokioIo::new(stream), Arc::clone(connection));
        let service = service_fn(move |request| answer(&served, request));
        let head = self.limits.header_limit.0;
        // `http1_only` of the other builder has no effect where upgrades are allowed.
        if !self.limits.http2 {
            // `pipeline_flush` stays off. With it, hyper never writes a response that ends the connection (431),
            // and buffers a response that the client does not read, however large.
            let mut builder = http1::Builder::new();
            builder.max_header_size(head).max_buf_size(head);
            let http = builder.serve_connection(io, service).with_upgrades();
            let shut_down = http1::UpgradeableConnection::graceful_shutdown;
            return connection.spawn(http, shut_down);
        }
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().max_buf_size(head);
        let list = u32::try_from(head).unwrap_or(u32::MAX);
        let mut http2 = builder.http2();
        http2.max_header_list_size(list).max_concurrent_streams(200);
        let http = builder.serve_connection_with_upgrades(io, service);
        let shut_down = auto::UpgradeableConnection::graceful_shutdown;
        connection.spawn(http.into_owned(), shut_down);
    }
}
