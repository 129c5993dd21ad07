//! The accept loop: one task per listener, which accepts connections and enforces their deadlines.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::conversation::Conversation;
use super::exchange::answer;
use super::limits::Limits;
use super::registry::Registry;
use super::socket::admit_no_more;
use super::stream::Stream;

/// How long to rest when the process or the machine has no more file descriptors.
const REST: Duration = Duration::from_millis(100);

/// Streams that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 200;

/// How often an HTTP/2 client is asked whether it is there, and how soon it must answer.
const PING: Duration = Duration::from_secs(20);

/// How long a connection that was begun when the listener stops may take to be complete: more than a
/// round trip, and nothing that anybody waits for.
const HANDSHAKE: Duration = Duration::from_millis(100);

/// Accepts until it is told to stop. Then whoever has connected, or begun to, is still served, and
/// the socket closed: those who come later are refused.
pub(super) async fn accept(socket: TcpListener, door: Door, stop: CancellationToken) {
    let mut sweep = interval(door.registry.shared().tick());
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopped = pin!(stop.cancelled());
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            _ = sweep.tick() => door.registry.sweep(),
            () = door.take(&socket) => {}
        }
    }
    if door.inherited {
        return;
    }
    if admit_no_more(&socket).is_ok() {
        let last = async {
            loop {
                door.take(&socket).await;
            }
        };
        _ = timeout(HANDSHAKE, last).await;
    }
    // Whatever the runtime has not heard of yet, the operating system knows.
    if let Ok(socket) = socket.into_std() {
        door.empty_the_backlog(&socket);
    }
}

/// What it takes to serve whoever comes in.
pub(super) struct Door {
    name: &'static str,
    /// The socket is not only ours: its backlog is for the process that comes next.
    inherited: bool,
    routes: Router,
    registry: Arc<Registry>,
    protocol: Protocol,
}

impl Door {
    pub(super) fn new(
        name: &'static str,
        inherited: bool,
        routes: Router,
        registry: Arc<Registry>,
    ) -> Self {
        let protocol = Protocol::within(registry.shared().limits());
        Self {
            name,
            inherited,
            routes,
            registry,
            protocol,
        }
    }

    /// Serves the next client, as soon as there is room for one: until then, clients wait in the
    /// backlog.
    async fn take(&self, socket: &TcpListener) {
        let permit = self.registry.admit(self.name).await;
        match socket.accept().await {
            Ok((stream, peer)) => self.serve(stream, peer, permit),
            Err(error) => self.survive(&error).await,
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let connection = self.registry.enter(stream, peer);
        let stream = Stream::new(Arc::clone(&connection), Arc::clone(&self.registry), permit);
        let (routes, asked) = (self.routes.clone(), Arc::clone(&connection));
        let service = service_fn(move |request| answer(&routes, &asked, request));
        let io = TokioIo::new(stream);
        match &self.protocol {
            Protocol::Http1(protocol) => {
                let conversation = protocol.serve_connection(io, service);
                talk(&connection, conversation.with_upgrades());
            }
            Protocol::Both(protocol) => {
                let conversation = protocol.serve_connection_with_upgrades(io, service);
                talk(&connection, conversation.into_owned());
            }
        }
    }

    fn empty_the_backlog(&self, socket: &std::net::TcpListener) {
        while let Some(permit) = self.registry.try_admit() {
            let Ok((stream, peer)) = socket.accept() else {
                return;
            };
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.serve(stream, peer, permit);
            }
        }
    }

    /// A client that has gone again is no reason to rest. Being out of file descriptors is: the
    /// next attempt would fail at once as well.
    async fn survive(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
        ) {
            return;
        }
        self.registry.cannot_accept(self.name, error);
        sleep(REST).await;
    }
}

/// Lets a connection be served until it ends.
fn talk(connection: &Arc<Connection>, conversation: impl Conversation + Send + 'static) {
    let (talking, conversation) = (Arc::clone(connection), Box::pin(conversation));
    // The registry knows every connection, waits for it, and can end its task.
    #[expect(clippy::disallowed_methods)]
    let task = tokio::spawn(async move { talking.converse(conversation).await });
    connection.runs_as(task.abort_handle());
}

/// What is spoken. To be limited to HTTP/1 takes a builder of its own: the other one listens for
/// HTTP/2 on every connection that may be upgraded, whatever it is told.
enum Protocol {
    Http1(http1::Builder),
    Both(auto::Builder<TokioExecutor>),
}

impl Protocol {
    /// The limits of time are not here: the registry sees to those.
    fn within(limits: &Limits) -> Self {
        let head = limits.header_limit.0;
        // Not `pipeline_flush`: with it, an error that ends the connection (431) is never written,
        // and an answer to a client that does not read is kept in memory whole, however large.
        if !limits.http2 {
            let mut protocol = http1::Builder::new();
            protocol.max_header_size(head).max_buf_size(head);
            return Self::Http1(protocol);
        }
        let mut protocol = auto::Builder::new(TokioExecutor::new());
        protocol.http1().max_buf_size(head);
        protocol
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        Self::Both(protocol)
    }
}
