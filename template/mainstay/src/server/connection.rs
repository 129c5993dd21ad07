//! One connection, from its accept to the close of its socket, upgraded or not, and its requests in flight.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::MatchedPath;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::AbortHandle;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::timeout;

use super::Registry;

const LATE_HEAD: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long an idle HTTP/1 connection stays open at its close, so that a request on its way is answered.
const LAST_REQUEST: Duration = Duration::from_millis(100);

/// How long an HTTP/2 client without requests has to answer GOAWAY.
const GOAWAY: Duration = Duration::from_secs(1);

/// The state that the registry, the requests and the stream of a connection share.
pub(crate) struct Connection {
    pub(super) id: u64,
    peer: SocketAddr,
    pub(super) registry: Arc<Registry>,
    /// Lets the connection end after its requests in flight.
    pub(super) close: Notify,
    pub(super) task: OnceLock<AbortHandle>,
    state: Mutex<State>,
}

pub(super) struct State {
    socket: TcpStream,
    awaited: Awaited,
    /// The tick since which the operating system takes no more bytes, since the client does not read.
    blocked: Option<u32>,
    requests: Vec<Arc<Exchange>>,
    /// The end of its response may not be written yet.
    last_request: Option<Arc<Exchange>>,
    /// The number of requests so far.
    pub(super) total: u64,
    is_http2: bool,
}

/// What a connection without requests waits for, and since which tick.
#[derive(Clone, Copy)]
enum Awaited {
    /// The first byte of the first request.
    First(u32),
    /// The next request.
    Next(u32),
    /// The rest of a request head.
    Head(u32),
    /// The close.
    Close,
}

impl Connection {
    /// Serves the connection until one side ends it. After `close`, it answers the requests in flight and those
    /// on their way.
    pub(super) async fn run<H: Future>(&self, mut http: Pin<Box<H>>, shut_down: fn(Pin<&mut H>)) {
        tokio::select! {
            biased;
            _ = http.as_mut() => return,
            () = self.close.notified() => {}
        }
        let is_http2 = self.lock().is_http2;
        let patience = if is_http2 {
            shut_down(http.as_mut());
            GOAWAY
        } else {
            LAST_REQUEST
        };
        if timeout(patience, http.as_mut()).await.is_ok() || self.lock().in_flight() == 0 {
            return;
        }
        if !is_http2 {
            shut_down(http.as_mut());
        }
        _ = http.await;
    }

    /// Resets the connection, upgraded or not.
    pub(super) fn cut(&self) {
        let state = self.lock();
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

    /// Ends the connection if its client was too slow for something.
    pub(super) fn end_if_overdue(&self) {
        let limits = &self.registry.limits;
        let is_over = |since, limit| self.registry.is_over(since, limit);
        let mut state = self.lock();
        let unread = state.requests.iter().map(|it| it.unread.load(Relaxed));
        let mut unread = unread.filter(|since| *since > 0).chain(state.blocked);
        if unread.any(|since| is_over(since, limits.write_timeout)) {
            drop(state);
            self.registry.open().totals.slow_readers += 1;
            return self.cut();
        }
        match state.awaited {
            _ if state.in_flight() > 0 => {}
            Awaited::Next(since) if is_over(since, limits.idle_timeout) => {
                state.awaited = Awaited::Close;
                drop(state);
                self.registry.open().totals.idle += 1;
                self.close.notify_one();
            }
            Awaited::First(since) | Awaited::Head(since)
                if is_over(since, limits.header_timeout) =>
            {
                if matches!(state.awaited, Awaited::Head(_)) {
                    _ = state.socket.try_write(LATE_HEAD);
                }
                _ = SockRef::from(&state.socket).shutdown(Shutdown::Write);
                drop(state);
                self.registry.open().totals.late_heads += 1;
                self.abort();
            }
            _ => {}
        }
    }

    pub(super) fn begin_request(self: &Arc<Self>, is_http2: bool) -> Arc<Exchange> {
        let request = Arc::new(Exchange::new(self.peer, Arc::downgrade(self)));
        let mut state = self.lock();
        state.is_http2 = is_http2;
        state.total += 1;
        state.requests.push(Arc::clone(&request));
        request
    }

    pub(super) fn end_request(&self, request: &Arc<Exchange>) {
        let mut state = self.lock();
        state.requests.retain(|other| !Arc::ptr_eq(other, request));
        state.last_request = Some(Arc::clone(request));
        if state.requests.is_empty() {
            state.awaited = Awaited::Next(self.registry.now());
        }
    }

    /// The routes of the requests in flight.
    pub(super) fn routes(&self) -> Vec<String> {
        let state = self.lock();
        let is_unwritten = state.requests.is_empty() && state.blocked.is_some();
        let unwritten = state.last_request.iter().filter(|_| is_unwritten);
        let requests = state.requests.iter().chain(unwritten);
        requests.map(|request| request.route().to_owned()).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of requests whose response is not written to its end.
    pub(super) fn in_flight(&self) -> usize {
        self.requests.len().max(self.blocked.is_some().into())
    }

    /// Notes that bytes have arrived. The time for a head counts from its first byte.
    fn received(&mut self, bytes: &[u8], now: u32) {
        if self.is_http2 || !self.requests.is_empty() {
            return;
        }
        self.awaited = match self.awaited {
            // An HTTP/2 connection may be idle before its first request.
            Awaited::First(_) if bytes.starts_with(HTTP2_PREFACE) => {
                self.is_http2 = true;
                Awaited::Next(now)
            }
            Awaited::First(since) => Awaited::Head(since),
            Awaited::Next(_) => Awaited::Head(now),
            awaited => awaited,
        };
    }
}

tokio::task_local! {
    static CURRENT: Arc<Exchange>;
}

/// The request that the current task answers. An extension of the request would cost an allocation.
pub(crate) struct Exchange {
    /// Dangling in tests.
    pub(super) connection: Weak<Connection>,
    /// The other end of the connection.
    pub(crate) peer: SocketAddr,
    route: OnceLock<MatchedPath>,
    /// The tick since which the client takes no more of the response; zero if it does.
    pub(super) unread: AtomicU32,
}

impl Exchange {
    pub(crate) fn new(peer: SocketAddr, connection: Weak<Connection>) -> Self {
        Self {
            connection,
            peer,
            route: OnceLock::new(),
            unread: AtomicU32::new(0),
        }
    }

    /// Calls `at` with the current request. `None` if it came over no listener.
    pub(crate) fn look<T>(at: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(|exchange| at(exchange)).ok()
    }

    /// Runs `work` with this as the current request.
    pub(crate) fn around<F: Future>(self: Arc<Self>, work: F) -> TaskLocalFuture<Arc<Self>, F> {
        CURRENT.scope(self, work)
    }

    /// Names the request in the log of a stop that waits for it.
    pub(crate) fn routed(&self, route: MatchedPath) {
        _ = self.route.set(route);
    }

    fn route(&self) -> &str {
        self.route.get().map_or("unmatched", MatchedPath::as_str)
    }

    /// Whether the deadline of a drain has ended the request.
    pub(crate) fn is_cut(&self) -> bool {
        let connection = self.connection.upgrade();
        connection.is_some_and(|connection| connection.registry.is_cut.load(Relaxed))
    }
}

/// The socket of a connection, as hyper or an upgraded protocol reads and writes it. The connection counts as open
/// until this is dropped.
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
        let state = State {
            socket,
            awaited: Awaited::First(registry.now()),
            blocked: None,
            requests: Vec::new(),
            last_request: None,
            total: 0,
            is_http2: false,
        };
        let mut open = registry.open();
        open.totals.accepted += 1;
        let id = open.totals.accepted;
        let connection = Arc::new(Connection {
            id,
            peer,
            registry: Arc::clone(registry),
            close: Notify::new(),
            task: OnceLock::new(),
            state: Mutex::new(state),
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
        open.totals.requests += self.connection.lock().total;
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let mut state = self.connection.lock();
        let read = Pin::new(&mut state.socket).poll_read(context, buffer);
        if let bytes @ [_, ..] = &buffer.filled()[before..] {
            state.received(bytes, self.connection.registry.now());
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
        let mut state = self.connection.lock();
        let written = Pin::new(&mut state.socket).poll_write_vectored(context, slices);
        state.blocked = if written.is_ready() {
            None
        } else {
            state.blocked.or(Some(self.connection.registry.now()))
        };
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
        Pin::new(&mut self.connection.lock().socket).poll_shutdown(context)
    }
}
