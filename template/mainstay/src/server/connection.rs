//! One connection, from its accept to the close of its socket, upgraded or not, and its requests in flight.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::MatchedPath;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Registry;
use crate::panics::lock;

const LATE_HEAD: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long the close of an idle connection waits for a request on its way, and for the answer to a GOAWAY.
const LAST_REQUEST: Duration = Duration::from_millis(100);

pub(super) struct Connection {
    id: u64,
    pub(super) peer: SocketAddr,
    pub(super) registry: Arc<Registry>,
    /// Lets the connection end after its requests in flight.
    pub(super) close: Notify,
    task: OnceLock<AbortHandle>,
    pub(super) state: Mutex<State>,
}

/// Times are counts of sweeps.
pub(super) struct State {
    socket: TcpStream,
    /// Whether the connection waits for a request to begin, and not for the rest of a head.
    is_idle: bool,
    waited: u32,
    /// How long the operating system has taken no more bytes, since the client does not read.
    blocked: Option<u32>,
    requests: Vec<Request>,
    /// The number of requests so far.
    pub(super) total: u64,
    is_http2: bool,
    /// The connection ends when its task runs next. A sweep may come first.
    is_cut: bool,
}

pub(super) struct Request {
    id: u64,
    pub(super) route: Option<MatchedPath>,
    /// How long the client has taken no more of the response.
    pub(super) unread: Option<u32>,
}

impl Connection {
    /// Serves the connection. After `close`, it answers the requests in flight and those on their way.
    pub(super) fn spawn<H: Future<Output: Send> + Send + 'static>(
        self: &Arc<Self>,
        http: H,
        shut_down: fn(Pin<&mut H>),
    ) {
        // Boxed, so that `spawn` moves a pointer instead of the whole future.
        let (mut http, served) = (Box::pin(http), Arc::clone(self));
        let serve = async move {
            tokio::select! {
                biased;
                _ = http.as_mut() => return,
                () = served.close.notified() => {}
            }
            if lock(&served.state).is_http2 {
                shut_down(http.as_mut());
            }
            let last = timeout(LAST_REQUEST, http.as_mut()).await;
            if last.is_err() && lock(&served.state).in_flight() > 0 {
                shut_down(http.as_mut());
                _ = http.await;
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the registry waits for it")]
        let task = tokio::spawn(serve);
        _ = self.task.set(task.abort_handle());
    }

    /// Resets the connection, upgraded or not.
    pub(super) fn cut(&self) {
        let mut state = lock(&self.state);
        state.is_cut = true;
        _ = state.socket.set_zero_linger();
        _ = SockRef::from(&state.socket).shutdown(Shutdown::Both);
        drop(state);
        self.abort();
    }

    fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Ends the connection if its client was too slow for something. Returns the reason.
    pub(super) fn sweep(&self) -> Option<&'static str> {
        let limits = &self.registry.limits;
        let tick = limits.tick();
        // The first sweep may have come at once.
        let is_over = |sweeps: u32, limit| tick * sweeps.saturating_sub(1) >= limit;
        let mut locked = lock(&self.state);
        let state = &mut *locked;
        if state.is_cut {
            return None;
        }
        state.waited += 1;
        let unread = state.requests.iter_mut().map(|it| &mut it.unread);
        let mut is_slow = false;
        for sweeps in unread.chain([&mut state.blocked]).flatten() {
            *sweeps += 1;
            is_slow |= is_over(*sweeps, limits.write_timeout);
        }
        if is_slow {
            drop(locked);
            self.cut();
            return Some("slow_reader");
        }
        let limit = if state.is_idle {
            limits.idle_timeout
        } else {
            limits.header_timeout
        };
        if state.in_flight() > 0 || !is_over(state.waited, limit) {
            return None;
        }
        state.waited = 0;
        if state.is_idle {
            self.close.notify_one();
            return Some("idle");
        }
        _ = state.socket.try_write(LATE_HEAD);
        _ = SockRef::from(&state.socket).shutdown(Shutdown::Write);
        drop(locked);
        self.abort();
        Some("late_head")
    }

    pub(super) fn begin_request(&self, is_http2: bool) -> u64 {
        let mut state = lock(&self.state);
        state.is_http2 = is_http2;
        state.total += 1;
        let id = state.total;
        let (route, unread) = (None, None);
        state.requests.push(Request { id, route, unread });
        id
    }

    pub(super) fn update_request(&self, id: u64, update: impl FnOnce(&mut Request)) {
        let mut state = lock(&self.state);
        if let Some(request) = state.requests.iter_mut().find(|it| it.id == id) {
            update(request);
        }
    }

    pub(super) fn end_request(&self, id: u64) {
        let mut state = lock(&self.state);
        state.requests.retain(|request| request.id != id);
        if state.requests.is_empty() {
            state.wait(true);
        }
    }

    pub(super) fn routes(&self) -> Vec<String> {
        let state = lock(&self.state);
        if state.requests.is_empty() && state.blocked.is_some() {
            return vec!["a response that is not read".to_owned()];
        }
        let routes = state.requests.iter().map(|request| &request.route);
        let routes = routes.map(|route| route.as_ref().map_or("unmatched", MatchedPath::as_str));
        routes.map(str::to_owned).collect()
    }
}

impl State {
    pub(super) fn in_flight(&self) -> usize {
        self.requests.len().max(self.blocked.is_some().into())
    }

    /// Notes that bytes have arrived. The time for a head counts from its first byte.
    fn received(&mut self, bytes: &[u8]) {
        if self.total == 0 && bytes.starts_with(HTTP2_PREFACE) {
            // An HTTP/2 connection may be idle before its first request.
            self.is_http2 = true;
            self.wait(true);
        } else if !self.is_http2 && self.is_idle {
            self.wait(false);
        }
    }

    fn wait(&mut self, is_idle: bool) {
        (self.is_idle, self.waited) = (is_idle, 0);
    }
}

/// The socket, for hyper or an upgraded protocol. The connection counts as open until this is dropped.
pub(super) struct Stream {
    pub(super) connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn enter(
        registry: &Arc<Registry>,
        socket: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let mut open = registry.open();
        open.totals.accepted += 1;
        let id = open.totals.accepted;
        let connection = Arc::new(Connection {
            id,
            peer,
            registry: Arc::clone(registry),
            close: Notify::new(),
            task: OnceLock::new(),
            state: Mutex::new(State {
                socket,
                is_idle: false,
                waited: 0,
                blocked: None,
                requests: Vec::new(),
                total: 0,
                is_http2: false,
                is_cut: false,
            }),
        });
        open.connections.insert(id, Arc::clone(&connection));
        Self {
            connection,
            _permit: permit,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.connection.registry.open();
        open.connections.remove(&self.connection.id);
        open.totals.requests += lock(&self.connection.state).total;
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let mut state = lock(&self.connection.state);
        let read = Pin::new(&mut state.socket).poll_read(context, buffer);
        if let bytes @ [_, ..] = &buffer.filled()[before..] {
            state.received(bytes);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.connection.state);
        let written = Pin::new(&mut state.socket).poll_write_vectored(context, slices);
        state.blocked = written.is_pending().then(|| state.blocked.unwrap_or(0));
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// A socket has no buffer to flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.connection.state).socket).poll_shutdown(context)
    }
}
