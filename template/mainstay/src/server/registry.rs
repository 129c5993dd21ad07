//! The connections of a listener: their deadlines, their numbers, and how they end.
//!
//! A sweep over all connections enforces the deadlines, instead of a timer in each. So a request costs neither a
//! timer nor a look at the clock, and a connection cannot stay in a state without a timer. Deadlines are exact
//! to a tick.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::connection::{Connection, Overdue};
use super::limits::Limits;
use super::shared::Shared;

pub(super) struct Registry {
    pub(super) shared: Arc<Shared>,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Notified when the last connection has ended.
    emptied: Notify,
    accepted: AtomicU64,
    /// The requests of closed connections. Each open one counts its own, so that threads do not write to one
    /// place with every request.
    requests: AtomicU64,
    overdue: [AtomicU64; 3],
}

/// The traffic of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Traffic {
    /// Open connections.
    pub(crate) connections: usize,
    /// Requests in flight.
    pub(crate) in_flight: usize,
    /// All connections so far.
    pub(crate) accepted: u64,
    /// All requests so far.
    pub(crate) requests: u64,
    /// Connections that were closed because a request head was late.
    pub(crate) late_heads: u64,
    /// Connections that were closed because they were idle.
    pub(crate) idle: u64,
    /// Connections that were closed because the client did not read a response.
    pub(crate) slow_readers: u64,
}

impl Traffic {
    /// The sum of both.
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

/// How long after the deadline connections that were cut may take to end.
const CUT_TIME: Duration = Duration::from_millis(900);

impl Registry {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared::new(limits)),
            open: Mutex::default(),
            emptied: Notify::new(),
            accepted: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            overdue: Default::default(),
        }
    }

    /// Adds a connection. The receiver completes when the connection should end.
    pub(super) fn enter(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
    ) -> (Arc<Connection>, oneshot::Receiver<()>) {
        let id = self.accepted.fetch_add(1, Ordering::Relaxed);
        let (connection, closing) = Connection::new(id, socket, peer, &self.shared);
        let connection = Arc::new(connection);
        self.lock().insert(id, Arc::clone(&connection));
        (connection, closing)
    }

    pub(super) fn leave(&self, connection: &Connection) {
        let mut open = self.lock();
        open.remove(&connection.id);
        let requests = connection.lock().total;
        self.requests.fetch_add(requests, Ordering::Relaxed);
        if open.is_empty() {
            self.emptied.notify_one();
        }
    }

    /// Ends the connections that are overdue, for ever.
    pub(super) async fn enforce_deadlines(&self) -> Infallible {
        let mut sweep = interval(self.shared.tick());
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            sweep.tick().await;
            self.shared.advance();
            for connection in self.connections() {
                if let Some(overdue) = connection.overdue() {
                    self.overdue[overdue as usize].fetch_add(1, Ordering::Relaxed);
                    connection.end(overdue);
                }
            }
        }
    }

    /// Asks every connection to end.
    pub(super) fn drain(&self) {
        self.shared.is_closing.store(true, Ordering::Relaxed);
        self.shared.draining.cancel();
        for connection in self.connections() {
            connection.close();
        }
    }

    /// Whether the last connection has ended by the deadline.
    pub(super) async fn emptied_by(&self, deadline: Instant) -> bool {
        let emptied = async {
            while !self.lock().is_empty() {
                self.emptied.notified().await;
            }
        };
        timeout_at(deadline, emptied).await.is_ok()
    }

    /// Resets every connection at the deadline.
    pub(super) async fn cut(&self, deadline: Instant) {
        self.shared.is_cut.store(true, Ordering::Relaxed);
        for connection in self.connections() {
            connection.cut();
        }
        // Each request logs its event. A handler that blocks its thread does not end.
        self.emptied_by(deadline + CUT_TIME).await;
    }

    pub(super) fn open(&self) -> usize {
        self.lock().len()
    }

    /// The routes of the requests in flight, with their numbers.
    pub(super) fn routes(&self) -> Vec<String> {
        let mut routes = BTreeMap::<_, usize>::new();
        for route in self.connections().iter().flat_map(|open| open.routes()) {
            *routes.entry(route).or_default() += 1;
        }
        let named = routes.into_iter().map(|(route, count)| match count {
            1 => route,
            _ => format!("{route} ×{count}"),
        });
        named.collect()
    }

    pub(super) fn traffic(&self) -> Traffic {
        let open = self.lock();
        let requests: u64 = open.values().map(|open| open.lock().total).sum();
        let overdue = |why| self.overdue[why as usize].load(Ordering::Relaxed);
        Traffic {
            connections: open.len(),
            in_flight: open.values().map(|open| open.lock().in_flight()).sum(),
            accepted: self.accepted.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed) + requests,
            late_heads: overdue(Overdue::Head),
            idle: overdue(Overdue::Idle),
            slow_readers: overdue(Overdue::Write),
        }
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("limits", &self.shared.limits)
            .field("traffic", &self.traffic())
            .finish_non_exhaustive()
    }
}
