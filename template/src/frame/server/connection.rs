//! One connection, from its accept to the end of its socket, whoever holds that by then.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::MatchedPath;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::registry::Registry;

/// What the registry, the requests and the socket's reader share of a connection.
pub(super) struct Connection {
    id: u64,
    pub(super) peer: SocketAddr,
    pub(super) registry: Arc<Registry>,
    /// Ends the task that speaks with the client. An upgraded connection has none of ours.
    task: OnceLock<AbortHandle>,
    /// Told when no further request is wanted.
    last_call: Notify,
    state: Mutex<State>,
}

/// All of these change together, and are looked at together.
struct State {
    socket: TcpStream,
    silence: Silence,
    /// The tick since which the operating system takes no more of what we write.
    stuck: Option<u32>,
    requests: Vec<Request>,
    next_request: u64,
    /// One connection, many requests at once.
    http2: bool,
}

/// What a connection without a request is waiting for, and since which tick.
#[derive(Debug, Clone, Copy)]
enum Silence {
    /// The first request: no byte of it is there, or not all of its head.
    First(u32),
    /// The first byte of another request.
    Idle(u32),
    /// The rest of its head.
    Head(u32),
}

/// A request in flight: from its head to the last byte of its answer.
struct Request {
    id: u64,
    route: Option<MatchedPath>,
    /// The tick since which the client has not asked for more of the answer.
    unread: Option<u32>,
}

/// What a client took too long for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    Head,
    Idle,
    Write,
}

/// How long an idle connection is listened to before it is closed: a request that is already on
/// its way is answered. More than a round trip, and nothing that anybody waits for.
const LAST_CALL: Duration = Duration::from_millis(100);

/// Said to a client that has sent a part of a head and no more. It has no body: nobody knows what
/// was asked.
const TOO_LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A way to speak HTTP over a connection.
pub(super) trait Conversation: Future {
    /// No further request is wanted.
    fn finish(self: Pin<&mut Self>);
}

impl<I, S, E, B> Conversation for hyper_util::server::conn::auto::UpgradeableConnection<'_, I, S, E>
where
    Self: Future,
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Connection {
    /// A connection and its two ends: the socket to speak through, and what is known about it.
    pub(super) fn open(
        socket: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        registry: &Arc<Registry>,
    ) -> (Io, Arc<Self>) {
        let connection = registry.enter(|id| {
            Arc::new(Self {
                id,
                peer,
                registry: Arc::clone(registry),
                task: OnceLock::new(),
                last_call: Notify::new(),
                state: Mutex::new(State {
                    socket,
                    silence: Silence::First(registry.now()),
                    stuck: None,
                    requests: Vec::new(),
                    next_request: 0,
                    http2: false,
                }),
            })
        });
        let io = Io {
            connection: Arc::clone(&connection),
            _permit: permit,
        };
        (io, connection)
    }

    /// Speaks with the client until one side ends it.
    pub(super) async fn converse(&self, conversation: impl Conversation) {
        tokio::pin!(conversation);
        tokio::select! {
            biased;
            _ = conversation.as_mut() => return,
            () = self.last_call.notified() => {}
        }
        let http2 = self.lock().http2;
        if http2 {
            // This protocol can say goodbye by itself.
            conversation.as_mut().finish();
        }
        if timeout(LAST_CALL, conversation.as_mut()).await.is_ok() || self.in_flight() == 0 {
            return;
        }
        if !http2 {
            conversation.as_mut().finish();
        }
        _ = conversation.await;
    }

    pub(super) fn runs_as(&self, task: AbortHandle) {
        _ = self.task.set(task);
    }

    /// Answers what is in flight or on its way, and ends.
    pub(super) fn drain(&self) {
        self.last_call.notify_one();
    }

    /// Ends at once, whoever holds it.
    pub(super) fn cut(&self) {
        let state = self.lock();
        // What the client has not taken by now, it will not get.
        _ = state.socket.set_zero_linger();
        // An upgraded connection belongs to a handler, which notices this.
        _ = SockRef::from(&state.socket).shutdown(Shutdown::Both);
        drop(state);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Whether its client has taken too long for something.
    pub(super) fn overdue(&self) -> Option<Overdue> {
        let limits = self.registry.limits();
        let over = |since, time| self.registry.is_over(since, time);
        let state = self.lock();
        let unread = state.requests.iter().filter_map(|request| request.unread);
        if unread
            .chain(state.stuck)
            .any(|since| over(since, limits.write_timeout))
        {
            return Some(Overdue::Write);
        }
        if !state.requests.is_empty() {
            return None;
        }
        match state.silence {
            Silence::First(since) | Silence::Head(since) => {
                over(since, limits.header_timeout).then_some(Overdue::Head)
            }
            Silence::Idle(since) => over(since, limits.idle_timeout).then_some(Overdue::Idle),
        }
    }

    /// Ends because of that.
    pub(super) fn end(&self, overdue: Overdue) {
        match overdue {
            Overdue::Idle => self.drain(),
            Overdue::Write => self.cut(),
            Overdue::Head => {
                let state = self.lock();
                if matches!(state.silence, Silence::Head(_)) {
                    _ = state.socket.try_write(TOO_LATE);
                }
                _ = SockRef::from(&state.socket).shutdown(Shutdown::Write);
                drop(state);
                if let Some(task) = self.task.get() {
                    task.abort();
                }
            }
        }
    }

    /// A request has come; gives the name by which it is known until it [ends](Self::ended).
    pub(super) fn begun(&self, http2: bool) -> u64 {
        self.registry.count_request();
        let mut state = self.lock();
        state.http2 = http2;
        let id = state.next_request;
        state.next_request += 1;
        state.requests.push(Request {
            id,
            route: None,
            unread: None,
        });
        id
    }

    pub(super) fn routed(&self, id: u64, route: MatchedPath) {
        self.lock()
            .request(id, |request| request.route = Some(route));
    }

    /// From now on, it is the client who is waited for; or, else, the answer's maker.
    pub(super) fn waits_for_client(&self, id: u64, waits: bool) {
        let now = self.registry.now();
        self.lock()
            .request(id, |request| request.unread = waits.then_some(now));
    }

    pub(super) fn ended(&self, id: u64) {
        let now = self.registry.now();
        let mut state = self.lock();
        state.requests.retain(|request| request.id != id);
        if state.requests.is_empty() {
            state.silence = Silence::Idle(now);
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lock().requests.len()
    }

    /// The routes of the requests in flight.
    pub(super) fn busy(&self) -> Vec<String> {
        let name = |request: &Request| {
            let route = request.route.as_ref();
            route.map_or("unmatched", MatchedPath::as_str).to_owned()
        };
        self.lock().requests.iter().map(name).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn request(&mut self, id: u64, change: impl FnOnce(&mut Request)) {
        if let Some(request) = self.requests.iter_mut().find(|request| request.id == id) {
            change(request);
        }
    }

    fn received(&mut self, now: u32) {
        if self.http2 || !self.requests.is_empty() {
            return;
        }
        // The time for a head counts from its first byte.
        match self.silence {
            Silence::Idle(_) => self.silence = Silence::Head(now),
            Silence::First(since) => self.silence = Silence::Head(since),
            Silence::Head(_) => {}
        }
    }

    fn wrote<T>(&mut self, written: Poll<T>, now: u32) -> Poll<T> {
        match written {
            Poll::Ready(_) => self.stuck = None,
            Poll::Pending => self.stuck = self.stuck.or(Some(now)),
        }
        written
    }
}

/// The socket, as hyper or whoever it is upgraded for reads and writes it. The connection counts as
/// open until this is dropped.
pub(super) struct Io {
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Io {
    fn drop(&mut self) {
        self.connection.registry.leave(self.connection.id);
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let mut state = self.connection.lock();
        let read = Pin::new(&mut state.socket).poll_read(context, buffer);
        if buffer.filled().len() > before {
            state.received(self.connection.registry.now());
        }
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.connection.lock();
        let written = Pin::new(&mut state.socket).poll_write(context, bytes);
        state.wrote(written, self.connection.registry.now())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.connection.lock();
        let written = Pin::new(&mut state.socket).poll_write_vectored(context, slices);
        state.wrote(written, self.connection.registry.now())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection.lock().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection.lock().socket).poll_shutdown(context)
    }
}
