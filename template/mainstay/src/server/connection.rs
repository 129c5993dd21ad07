//! One connection, from its accept to the close of its socket, upgraded or not.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::extract::MatchedPath;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::conversation::Conversation;
use super::shared::Shared;

/// The last words over HTTP/1 to a client whose request head did not arrive in time.
const LATE_HEAD: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What the registry, the requests and the stream share of a connection.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) listener: Arc<Shared>,
    /// Ends the task that speaks with the client. An upgraded connection has none of ours.
    task: OnceLock<AbortHandle>,
    /// No further request is wanted: what is so, and who is told.
    is_last: AtomicBool,
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
    /// What is answered last is an event stream.
    is_endless: bool,
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
    /// The first byte of another request; of any, over HTTP/2.
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

impl Connection {
    pub(super) fn new(
        id: u64,
        socket: TcpStream,
        peer: SocketAddr,
        listener: &Arc<Shared>,
    ) -> Self {
        Self {
            id,
            peer,
            listener: Arc::clone(listener),
            task: OnceLock::new(),
            is_last: AtomicBool::new(false),
            last_call: Notify::new(),
            state: Mutex::new(State {
                socket,
                silence: Silence::First(listener.now()),
                stuck: None,
                requests: Vec::new(),
                last_route: None,
                next_request: 0,
                is_endless: false,
                uploads: false,
                http2: false,
            }),
        }
    }

    /// Speaks with the client until one side ends it.
    ///
    /// It, and what only few connections come to, is in a box: what a task holds in place is moved
    /// about when it begins, and kept for as long as it runs.
    pub(super) async fn converse(&self, mut conversation: Pin<Box<impl Conversation>>) {
        tokio::select! {
            biased;
            _ = conversation.as_mut() => {}
            () = self.called_last() => Box::pin(self.conclude(conversation.as_mut())).await,
        }
        if self.is_sent_to() {
            Box::pin(self.linger()).await;
        }
    }

    /// Completes when no further request is wanted. Every request polls this, and the lock in
    /// `Notify` is for the first poll, which leaves the waker there, and for the last.
    async fn called_last(&self) {
        let mut called = pin!(self.last_call.notified());
        let mut is_known = false;
        poll_fn(|context| {
            if is_known && !self.is_last.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            is_known = true;
            called.as_mut().poll(context)
        })
        .await;
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

    /// Whether the client is still sending, as far as we know.
    fn is_sent_to(&self) -> bool {
        let state = self.lock();
        // An upgraded connection belongs to somebody else now.
        state.in_flight() == 0 && state.discard(&mut [0]).unwrap_or(state.uploads)
    }

    /// Reads on for a moment. To close a socket that has unread bytes breaks the connection, often
    /// before the client has read why.
    async fn linger(&self) {
        _ = SockRef::from(&self.lock().socket).shutdown(Shutdown::Write);
        let reading = async {
            let mut scrap = [0; 4096];
            while self.lock().discard(&mut scrap) != Some(false) {
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
        self.is_last.store(true, Ordering::Release);
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
        let limits = self.listener.limits();
        let over = |since, time| self.listener.is_over(since, time);
        let state = self.lock();
        // What has no end of its own misses nothing by being cut off.
        let is_ending = self.listener.draining().is_cancelled() && state.is_endless;
        let patience = match state.requests.len() {
            0 | 1 if is_ending => LINGER,
            _ => limits.write_timeout,
        };
        let unread = state.requests.iter().filter_map(|request| request.unread);
        if unread.chain(state.stuck).any(|since| over(since, patience)) {
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
                    _ = state.socket.try_write(LATE_HEAD);
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
        let mut state = self.lock();
        state.http2 = http2;
        state.uploads = uploads;
        state.is_endless = false;
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

    /// What is being answered has no end of its own.
    pub(super) fn answers_without_end(&self) {
        self.lock().is_endless = true;
    }

    pub(super) fn unread_since(&self, id: u64, unread: Option<u32>) {
        self.lock().request(id, |request| request.unread = unread);
    }

    pub(super) fn ended(&self, id: u64) {
        let now = self.listener.now();
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

    /// How many requests have come so far.
    pub(super) fn requests(&self) -> u64 {
        self.lock().next_request
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
    /// Reads what nobody will look at: whether there was something, if that can be told.
    fn discard(&self, scrap: &mut [u8]) -> Option<bool> {
        match self.socket.try_read(scrap) {
            Ok(count) => Some(count > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(false),
        }
    }

    /// Requests whose answer is not written to its end.
    fn in_flight(&self) -> usize {
        self.requests.len().max(self.stuck.is_some().into())
    }

    fn request(&mut self, id: u64, change: impl FnOnce(&mut Request)) {
        if let Some(request) = self.requests.iter_mut().find(|request| request.id == id) {
            change(request);
        }
    }

    /// Whoever is spoken to before it has asked speaks HTTP/2, which begins with a greeting, and asks when it
    /// likes. Its first request would tell as well, and may never come.
    pub(super) fn greets(&mut self, said: &[u8], now: u32) {
        if self.next_request == 0 && !self.http2 && !said.starts_with(b"HTTP/1") {
            self.http2 = true;
            self.silence = Silence::Idle(now);
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
