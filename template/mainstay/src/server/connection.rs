//! One connection, from its accept to the close of its socket, upgraded or not.

use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::MatchedPath;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::registry::Registry;

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
    pub(super) registry: Arc<Registry>,
    task: OnceLock<AbortHandle>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) socket: TcpStream,
    /// Asks the task to close the connection.
    close: Option<oneshot::Sender<()>>,
    awaited: Awaited,
    /// The tick since which the operating system takes no more bytes, since the client does not read.
    blocked: Option<u32>,
    requests: Vec<Request>,
    /// The route of the last request: the end of its response may not be written yet.
    last_route: Option<MatchedPath>,
    next_request: u64,
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
struct Request {
    id: u64,
    route: Option<MatchedPath>,
    /// The tick since which the client takes no more of the response.
    unread: Option<u32>,
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
        registry: &Arc<Registry>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (close, closing) = oneshot::channel();
        let connection = Self {
            id,
            peer,
            registry: Arc::clone(registry),
            task: OnceLock::new(),
            state: Mutex::new(State {
                socket,
                close: Some(close),
                awaited: Awaited::First(registry.now()),
                blocked: None,
                requests: Vec::new(),
                last_route: None,
                next_request: 0,
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
        if timeout(patience, http.as_mut()).await.is_ok() || self.in_flight() == 0 {
            return;
        }
        if !is_http2 {
            shut_down(http.as_mut());
        }
        _ = http.await;
    }

    pub(super) fn set_task(&self, task: AbortHandle) {
        _ = self.task.set(task);
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
        let limits = self.registry.limits();
        let over = |since, limit| self.registry.is_over(since, limit);
        let state = self.lock();
        let unread = state.requests.iter().filter_map(|request| request.unread);
        let mut unread = unread.chain(state.blocked);
        if unread.any(|since| over(since, limits.write_timeout)) {
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

    /// Begins a request, and returns its id.
    pub(super) fn begin_request(&self, is_http2: bool) -> u64 {
        let mut state = self.lock();
        state.is_http2 = is_http2;
        let id = state.next_request;
        state.next_request += 1;
        state.requests.push(Request {
            id,
            route: None,
            unread: None,
        });
        id
    }

    pub(super) fn set_route(&self, id: u64, route: MatchedPath) {
        if let Some(request) = self.lock().request(id) {
            request.route = Some(route);
        }
    }

    pub(super) fn set_unread(&self, id: u64, unread: Option<u32>) {
        if let Some(request) = self.lock().request(id) {
            request.unread = unread;
        }
    }

    pub(super) fn end_request(&self, id: u64) {
        let now = self.registry.now();
        let mut state = self.lock();
        if let Some(at) = state.requests.iter().position(|request| request.id == id) {
            state.last_route = state.requests.swap_remove(at).route;
        }
        if state.requests.is_empty() {
            state.awaited = Awaited::Next(now);
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lock().in_flight()
    }

    /// The number of requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.lock().next_request
    }

    /// The routes of the requests in flight.
    pub(super) fn routes(&self) -> Vec<String> {
        let state = self.lock();
        let mut routes: Vec<_> = state
            .requests
            .iter()
            .map(|request| &request.route)
            .collect();
        if routes.is_empty() && state.blocked.is_some() {
            routes.push(&state.last_route);
        }
        let name = |route: &Option<MatchedPath>| {
            let name = route.as_ref().map_or("unmatched", MatchedPath::as_str);
            name.to_owned()
        };
        routes.into_iter().map(name).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of requests whose response is not written to its end.
    fn in_flight(&self) -> usize {
        self.requests.len().max(self.blocked.is_some().into())
    }

    fn request(&mut self, id: u64) -> Option<&mut Request> {
        self.requests.iter_mut().find(|request| request.id == id)
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
