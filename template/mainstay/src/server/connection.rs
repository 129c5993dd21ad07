//! One connection, from its accept to the close of its socket, upgraded or not.

use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::MatchedPath;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::shared::Shared;

/// The answer to an HTTP/1 client whose request head is late.
const LATE_HEAD: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The first bytes of an HTTP/2 client.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long an idle HTTP/1 connection stays open before it is closed, so that a request on its way is answered:
/// more than a round trip.
const LAST_REQUEST: Duration = Duration::from_millis(100);

/// How long an HTTP/2 client without requests has to answer GOAWAY.
const GOAWAY: Duration = Duration::from_secs(1);

/// The state that the registry, the requests and the stream of a connection share.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) listener: Arc<Shared>,
    pub(super) task: OnceLock<AbortHandle>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) socket: TcpStream,
    /// Asks the task to close the connection.
    close: Option<oneshot::Sender<()>>,
    awaited: Awaited,
    /// The tick since which the operating system takes no more bytes, since the client does not read.
    blocked: Option<u32>,
    requests: Vec<Arc<RequestState>>,
    /// The end of its response may not be written yet.
    last_request: Option<Arc<RequestState>>,
    /// The number of requests so far.
    pub(super) total: u64,
    is_http2: bool,
}

/// What a connection without requests waits for, and since which tick.
#[derive(Debug, Clone, Copy)]
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

/// A request in flight: from its head to the last byte of its response.
#[derive(Default)]
pub(super) struct RequestState {
    pub(super) route: OnceLock<MatchedPath>,
    /// The tick since which the client takes no more of the response; zero if it does.
    pub(super) unread: AtomicU32,
}

/// What a client was too slow for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    Head,
    Idle,
    Write,
}

impl Connection {
    pub(super) fn new(
        id: u64,
        socket: TcpStream,
        peer: SocketAddr,
        listener: &Arc<Shared>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (close, closing) = oneshot::channel();
        let connection = Self {
            id,
            peer,
            listener: Arc::clone(listener),
            task: OnceLock::new(),
            state: Mutex::new(State {
                socket,
                close: Some(close),
                awaited: Awaited::First(listener.now()),
                blocked: None,
                requests: Vec::new(),
                last_request: None,
                total: 0,
                is_http2: false,
            }),
        };
        (connection, closing)
    }

    /// Serves the connection until one side ends it. After [`close`](Self::close), it answers the requests in
    /// flight and those on their way.
    pub(super) async fn run<H: Future>(
        &self,
        mut http: Pin<Box<H>>,
        closing: oneshot::Receiver<()>,
        shut_down: fn(Pin<&mut H>),
    ) {
        tokio::select! {
            biased;
            _ = http.as_mut() => return,
            _ = closing => {}
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

    /// Lets the connection end after the requests in flight.
    pub(super) fn close(&self) {
        let close = self.lock().close.take();
        _ = close.map(|close| close.send(()));
    }

    /// Resets the connection.
    pub(super) fn cut(&self) {
        let state = self.lock();
        _ = state.socket.set_zero_linger();
        // The handler of an upgraded connection notices this.
        _ = SockRef::from(&state.socket).shutdown(Shutdown::Both);
        drop(state);
        self.abort();
    }

    fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Whether the client was too slow for something.
    pub(super) fn overdue(&self) -> Option<Overdue> {
        let limits = &self.listener.limits;
        let over = |since, limit| self.listener.is_over(since, limit);
        let state = self.lock();
        let requests = state.requests.iter();
        let unread = requests.map(|request| request.unread.load(Relaxed));
        let mut waits = unread.filter(|since| *since > 0).chain(state.blocked);
        if waits.any(|since| over(since, limits.write_timeout)) {
            return Some(Overdue::Write);
        }
        if state.in_flight() > 0 {
            return None;
        }
        match state.awaited {
            Awaited::First(since) | Awaited::Head(since) => {
                over(since, limits.header_timeout).then_some(Overdue::Head)
            }
            Awaited::Next(since) => over(since, limits.idle_timeout).then_some(Overdue::Idle),
            Awaited::Close => None,
        }
    }

    /// Ends the connection of a client that was too slow.
    pub(super) fn end(&self, overdue: Overdue) {
        match overdue {
            Overdue::Idle => {
                self.lock().awaited = Awaited::Close;
                self.close();
            }
            Overdue::Write => self.cut(),
            Overdue::Head => {
                let state = self.lock();
                if matches!(state.awaited, Awaited::Head(_)) {
                    _ = state.socket.try_write(LATE_HEAD);
                }
                _ = SockRef::from(&state.socket).shutdown(Shutdown::Write);
                drop(state);
                self.abort();
            }
        }
    }

    pub(super) fn begin_request(&self, is_http2: bool) -> Arc<RequestState> {
        let request = Arc::<RequestState>::default();
        let mut state = self.lock();
        state.is_http2 = is_http2;
        state.total += 1;
        state.requests.push(Arc::clone(&request));
        request
    }

    pub(super) fn end_request(&self, request: &Arc<RequestState>) {
        let mut state = self.lock();
        let mut requests = state.requests.iter();
        if let Some(at) = requests.position(|other| Arc::ptr_eq(other, request)) {
            state.last_request = Some(state.requests.swap_remove(at));
        }
        if state.requests.is_empty() {
            state.awaited = Awaited::Next(self.listener.now());
        }
    }

    /// The routes of the requests in flight.
    pub(super) fn routes(&self) -> Vec<String> {
        let state = self.lock();
        let unwritten = state.last_request.iter();
        let unwritten = unwritten.filter(|_| state.requests.is_empty() && state.blocked.is_some());
        let requests = state.requests.iter().chain(unwritten);
        let routes = requests.map(|request| request.route.get());
        let names = routes.map(|route| route.map_or("unmatched", MatchedPath::as_str));
        names.map(str::to_owned).collect()
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
    pub(super) fn received(&mut self, bytes: &[u8], now: u32) {
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

    /// Notes whether the operating system has taken bytes.
    pub(super) fn wrote(&mut self, is_taken: bool, now: u32) {
        self.blocked = if is_taken {
            None
        } else {
            self.blocked.or(Some(now))
        };
    }
}
