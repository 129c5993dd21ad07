//! The connections of a listener: their limit, their deadlines, and the requests in flight.
//!
//! A sweep over all connections enforces the deadlines, instead of a timer in each. So a request costs neither a
//! timer nor a look at the clock, and a connection cannot stay in a state without a timer. Deadlines are exact
//! to a [tick](Shared::tick).

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, interval, timeout_at};

use super::connection::{Connection, Overdue};
use super::limits::Limits;
use super::shared::Shared;

pub(super) struct Registry {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Told when the last connection has ended.
    emptied: Notify,
    accepted: AtomicU64,
    /// Of the connections that have left. The others count their own, lest all threads write to one
    /// place with every request.
    requests: AtomicU64,
    late: [AtomicU64; 3],
    failures: Mutex<Option<Instant>>,
    is_full: AtomicBool,
}

/// What has come through a listener, and what is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Traffic {
    /// Connections that are open now.
    pub(crate) connections: usize,
    /// Requests that are in flight now.
    pub(crate) in_flight: usize,
    /// Connections that were ever accepted.
    pub(crate) accepted: u64,
    /// Requests that were ever taken.
    pub(crate) requests: u64,
    /// Connections that were closed because the client did not send the head of a request in time.
    pub(crate) late_heads: u64,
    /// … because no further request came.
    pub(crate) idle: u64,
    /// … because the client did not take what was written to it.
    pub(crate) slow_readers: u64,
}

impl Traffic {
    /// Of both together.
    pub(crate) fn add(&self, other: &Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            in_flight: self.in_flight + other.in_flight,
            accepted: self.accepted + other.accepted,
            requests: self.requests + other.requests,
            late_heads: self.late_heads + other.late_heads,
            idle: self.idle + other.idle,
            slow_readers: self.slow_readers + other.slow_readers,
        }
    }
}

/// How long tasks that were cut may take until the next of them has noticed, and how often that is
/// waited for.
const CUTTING: Duration = Duration::from_millis(100);
const CUTS: usize = 10;

impl Registry {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            room: Arc::new(Semaphore::new(limits.max_connections)),
            shared: Arc::new(Shared::new(limits)),
            open: Mutex::default(),
            emptied: Notify::new(),
            accepted: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            late: Default::default(),
            failures: Mutex::new(None),
            is_full: AtomicBool::new(false),
        }
    }

    /// What the connections share with the listener.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Room for one more connection, which is taken until it is dropped.
    pub(super) async fn admit(&self, name: &str) -> OwnedSemaphorePermit {
        if let Some(permit) = self.try_admit() {
            self.is_full.store(false, Ordering::Relaxed);
            return permit;
        }
        if !self.is_full.swap(true, Ordering::Relaxed) {
            let most = self.shared.limits().max_connections;
            tracing::warn!(listener = name, most, "no room for another connection");
        }
        match Arc::clone(&self.room).acquire_owned().await {
            Ok(permit) => permit,
            // Nobody closes the semaphore.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn try_admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// Takes in a connection that was accepted.
    pub(super) fn enter(&self, socket: TcpStream, peer: SocketAddr) -> Arc<Connection> {
        let id = self.accepted.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(id, socket, peer, &self.shared));
        self.lock().insert(id, Arc::clone(&connection));
        connection
    }

    pub(super) fn leave(&self, id: u64) {
        let mut open = self.lock();
        let left = open.remove(&id);
        if let Some(left) = &left {
            self.requests.fetch_add(left.requests(), Ordering::Relaxed);
        }
        if open.is_empty() {
            self.emptied.notify_one();
        }
        drop(open);
        drop(left);
    }

    /// Ends the connections whose time is over.
    pub(super) fn sweep(&self) {
        self.shared.advance();
        let overdue: Vec<_> = self
            .lock()
            .values()
            .filter_map(|connection| Some((Arc::clone(connection), connection.overdue()?)))
            .collect();
        for (connection, overdue) in overdue {
            self.late[overdue as usize].fetch_add(1, Ordering::Relaxed);
            connection.end(overdue);
        }
    }

    /// Keeps the deadlines from here on.
    pub(super) async fn sweep_on(&self) -> Infallible {
        let mut sweep = interval(self.shared.tick());
        loop {
            sweep.tick().await;
            self.sweep();
        }
    }

    /// Says that nothing could be accepted: once a minute at most.
    pub(super) fn cannot_accept(&self, name: &str, error: &io::Error) {
        let mut last = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= Duration::from_mins(1)) {
            *last = Some(Instant::now());
            tracing::error!(listener = name, %error, "cannot accept connections");
        }
    }

    /// Tells every connection to come to its end.
    pub(super) fn drain(&self) {
        self.shared.begin_drain();
        for connection in self.lock().values() {
            connection.drain();
        }
    }

    /// Whether the last connection has ended by then.
    pub(super) async fn emptied_by(&self, deadline: Instant) -> bool {
        let emptied = async {
            while !self.lock().is_empty() {
                self.emptied.notified().await;
            }
        };
        timeout_at(deadline, emptied).await.is_ok()
    }

    /// Ends every connection at once.
    pub(super) async fn cut(&self) {
        self.shared.cut();
        let open: Vec<_> = self.lock().values().cloned().collect();
        for connection in open {
            connection.cut();
        }
        // Thousands take their time, each with a last event. Whatever blocks its thread cannot be
        // waited for.
        for _ in 0..CUTS {
            let before = self.open();
            let emptied = self.emptied_by(Instant::now() + CUTTING).await;
            if emptied || self.open() == before {
                break;
            }
        }
    }

    pub(super) fn open(&self) -> usize {
        self.lock().len()
    }

    /// The routes of the requests in flight, each with how often it is there.
    pub(super) fn busy(&self) -> Vec<String> {
        let mut routes = BTreeMap::<_, usize>::new();
        for connection in self.lock().values() {
            for route in connection.busy() {
                *routes.entry(route).or_default() += 1;
            }
        }
        let named = routes.into_iter().map(|(route, count)| match count {
            1 => route,
            _ => format!("{route} ×{count}"),
        });
        named.collect()
    }

    pub(super) fn traffic(&self) -> Traffic {
        let in_flight = |open: &HashMap<_, Arc<Connection>>| {
            open.values().map(|connection| connection.in_flight()).sum()
        };
        let open = self.lock();
        let coming: u64 = open.values().map(|connection| connection.requests()).sum();
        let late = |why| self.late[why as usize].load(Ordering::Relaxed);
        Traffic {
            connections: open.len(),
            in_flight: in_flight(&open),
            accepted: self.accepted.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed) + coming,
            late_heads: late(Overdue::Head),
            idle: late(Overdue::Idle),
            slow_readers: late(Overdue::Write),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("limits", self.shared.limits())
            .field("traffic", &self.traffic())
            .finish_non_exhaustive()
    }
}
