//! One connection, from its accept to the end of its socket, whoever holds that by then.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::extract::MatchedPath;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::registry::Registry;
use super::stream::Stream;

/// What the registry, the requests and the [stream](Stream) share of a connection.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) registry: Arc<Registry>,
    /// Ends the task that speaks with the client. An upgraded connection has none of ours.
    task: OnceLock<AbortHandle>,
    /// Told when no further request is wanted.
    last_call: Notify,
    state: Mutex<State>,
}

/// All of these change together, and are looked at together.
pub(super) struct State {
    pub(super) socket: TcpStream,
    silence: Silence,
    /// The tick since which the operating system takes no more of what we write.
    stuck: Option<u32>,
    requests: Vec<Request>,
    /// The route of the one that ended last: the end of its answer may not be written yet.
    last_route: Option<MatchedPath>,
    next_request: u64,
    /// The last request had a body, which may not have been read to its end.
    uploads: bool,
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
    /// Nothing: it is on its way out.
    Leaving,
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

/// How long a client has to answer the goodbye of HTTP/2.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long a client that is still sending is read from after the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Said to a client that has sent a part of a head and no more. It has no body: nobody knows what
/// was asked.
const TOO_LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A way to speak HTTP over a connection.
pub(super) trait Conversation: Future<Output: Send> {
    /// No further request is wanted.
    fn finish(self: Pin<&mut Self>);
}

impl<I, S, B> Conversation for hyper::server::conn::http1::UpgradeableConnection<I, S>
where
    Self: Future<Output: Send>,
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, E, B> Conversation for hyper_util::server::conn::auto::UpgradeableConnection<'_, I, S, E>
where
    Self: Future<Output: Send>,
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
    ) -> (Stream, Arc<Self>) {
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
                    last_route: None,
                    next_request: 0,
                    uploads: false,
                    http2: false,
                }),
            })
        });
        let stream = Stream::new(Arc::clone(&connection), permit);
        (stream, connection)
    }

    /// Speaks with the client until one side ends it.
    pub(super) async fn converse(&self, conversation: impl Conversation) {
        tokio::pin!(conversation);
        tokio::select! {
            biased;
            _ = conversation.as_mut() => {}
            () = self.last_call.notified() => self.conclude(conversation.as_mut()).await,
        }
        self.linger().await;
    }

    /// Answers what is in flight or on its way; then it is over.
    async fn conclude(&self, mut conversation: Pin<&mut impl Conversation>) {
        let http2 = self.lock().http2;
        let patience = if http2 {
            // This protocol has words for it, and the client answers them.
            conversation.as_mut().finish();
            GOODBYE
        } else {
            LAST_CALL
        };
        if timeout(patience, conversation.as_mut()).await.is_ok() || self.in_flight() == 0 {
            return;
        }
        if !http2 {
            conversation.as_mut().finish();
        }
        _ = conversation.await;
    }

    /// Reads on for a moment if the client is still sending. To close a socket that has unread
    /// bytes breaks the connection, often before the client has read why.
    async fn linger(&self) {
        // On the heap, for the moment: every connection would have it in its task from the start.
        let mut scrap = vec![0; 4096];
        let mut unread = || match self.lock().socket.try_read(&mut scrap) {
            Ok(count) => Some(count > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(false),
        };
        let uploads = self.lock().uploads;
        // An upgraded connection belongs to somebody else now.
        if self.in_flight() > 0 || unread().map_or(!uploads, |some| !some) {
            return;
        }
        _ = SockRef::from(&self.lock().socket).shutdown(Shutdown::Write);
        let reading = async {
            while unread() != Some(false) {
                _ = poll_fn(|context| self.lock().socket.poll_read_ready(context)).await;
            }
        };
        _ = timeout(LINGER, reading).await;
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
        if state.in_flight() > 0 {
            return None;
        }
        match state.silence {
            Silence::First(since) | Silence::Head(since) => {
                over(since, limits.header_timeout).then_some(Overdue::Head)
            }
            Silence::Idle(since) => over(since, limits.idle_timeout).then_some(Overdue::Idle),
            Silence::Leaving => None,
        }
    }

    /// Ends because of that.
    pub(super) fn end(&self, overdue: Overdue) {
        match overdue {
            Overdue::Idle => {
                self.lock().silence = Silence::Leaving;
                self.drain();
            }
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
    pub(super) fn begun(&self, http2: bool, uploads: bool) -> u64 {
        self.registry.count_request();
        let mut state = self.lock();
        state.http2 = http2;
        state.uploads = uploads;
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
        if let Some(place) = state.requests.iter().position(|request| request.id == id) {
            state.last_route = state.requests.swap_remove(place).route;
        }
        if state.requests.is_empty() {
            state.silence = Silence::Idle(now);
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lock().in_flight()
    }

    /// The routes of the requests in flight.
    pub(super) fn busy(&self) -> Vec<String> {
        let state = self.lock();
        let name =
            |route: Option<&MatchedPath>| route.map_or("unmatched", MatchedPath::as_str).to_owned();
        if state.requests.is_empty() && state.in_flight() > 0 {
            return vec![name(state.last_route.as_ref())];
        }
        let requests = state.requests.iter();
        requests
            .map(|request| name(request.route.as_ref()))
            .collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Requests whose answer is not written to its end.
    fn in_flight(&self) -> usize {
        self.requests.len().max(self.stuck.is_some().into())
    }

    fn request(&mut self, id: u64, change: impl FnOnce(&mut Request)) {
        if let Some(request) = self.requests.iter_mut().find(|request| request.id == id) {
            change(request);
        }
    }

    pub(super) fn received(&mut self, now: u32) {
        if self.http2 || !self.requests.is_empty() {
            return;
        }
        // The time for a head counts from its first byte.
        match self.silence {
            Silence::Idle(_) => self.silence = Silence::Head(now),
            Silence::First(since) => self.silence = Silence::Head(since),
            Silence::Head(_) | Silence::Leaving => {}
        }
    }

    pub(super) fn wrote<T>(&mut self, written: Poll<T>, now: u32) -> Poll<T> {
        match written {
            Poll::Ready(_) => self.stuck = None,
            Poll::Pending => self.stuck = self.stuck.or(Some(now)),
        }
        written
    }
}
