//! The connections of a listener: their deadlines, their numbers, and how they end.
//!
//! A sweep over all connections enforces the deadlines, instead of a timer in each. So a request costs neither a
//! timer nor a look at the clock, and a connection cannot stay in a state without a timer. Deadlines are exact
//! to a tick.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Overdue};
use super::limits::Limits;

pub(super) struct Registry {
    pub(super) limits: Limits,
    /// Each open connection holds one.
    pub(super) permits: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// The number of sweeps so far: the clock of the deadlines.
    ticks: AtomicU32,
    /// Whether responses carry `Connection: close`.
    pub(super) is_closing: AtomicBool,
    /// Cancelled when the socket is closed and the drain begins.
    pub(super) draining: CancellationToken,
    /// Whether the deadline of the drain has passed.
    pub(super) is_cut: AtomicBool,
    accepted: AtomicU64,
    /// The requests of closed connections. Each open one counts its own, so that threads do not write to one
    /// place with every request.
    requests: AtomicU64,
    overdue: [AtomicU64; 3],
}

/// The traffic of a listener, or of all.
#[derive(Debug, Clone, Copy, Default, Serialize)]
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

/// How long after the deadline connections that were cut may take to end.
const CUT_TIME: Duration = Duration::from_millis(900);

impl Registry {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.max_connections)),
            limits,
            open: Mutex::default(),
            ticks: AtomicU32::new(1),
            is_closing: AtomicBool::new(false),
            draining: CancellationToken::new(),
            is_cut: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            overdue: Default::default(),
        }
    }

    pub(super) fn enter(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) -> Arc<Connection> {
        let id = self.accepted.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(id, socket, peer, Arc::clone(self)));
        self.lock().insert(id, Arc::clone(&connection));
        connection
    }

    pub(super) fn leave(&self, connection: &Connection) {
        let mut open = self.lock();
        open.remove(&connection.id);
        let requests = connection.lock().total;
        self.requests.fetch_add(requests, Ordering::Relaxed);
    }

    /// The current tick.
    pub(super) fn now(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Whether the time since a tick exceeds a limit.
    pub(super) fn is_over(&self, since: u32, limit: Duration) -> bool {
        let ticks = self.now().wrapping_sub(since);
        // The first of them may have come at once.
        self.tick() * ticks.saturating_sub(1) >= limit
    }

    /// The time between two sweeps: a tenth of the shortest deadline, within reason.
    fn tick(&self) -> Duration {
        let limits = &self.limits;
        let shortest = limits.header_timeout.min(limits.idle_timeout);
        let tick = shortest.min(limits.write_timeout) / 10;
        tick.clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Ends the connections that are overdue, for ever.
    pub(super) async fn enforce_deadlines(&self) -> Infallible {
        let mut sweep = interval(self.tick());
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            sweep.tick().await;
            self.ticks.fetch_add(1, Ordering::Relaxed);
            for connection in self.connections() {
                if let Some(overdue) = connection.end_if_overdue() {
                    self.overdue[overdue as usize].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Lets every connection end after its requests in flight.
    pub(super) fn close_connections(&self) {
        for connection in self.connections() {
            connection.close.notify_one();
        }
    }

    /// Whether the last connection has ended by the deadline.
    pub(super) async fn is_empty_by(&self, deadline: Instant) -> bool {
        let all = u32::try_from(self.limits.max_connections).unwrap_or(u32::MAX);
        timeout_at(deadline, self.permits.acquire_many(all))
            .await
            .is_ok()
    }

    /// Resets every connection at the deadline, and returns their number.
    pub(super) async fn cut(&self, deadline: Instant) -> usize {
        self.is_cut.store(true, Ordering::Relaxed);
        let connections = self.connections();
        for connection in &connections {
            connection.cut();
        }
        // Each request logs its event. A handler that blocks its thread does not end.
        self.is_empty_by(deadline + CUT_TIME).await;
        connections.len()
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

    pub(super) fn add_to(&self, traffic: &mut Traffic) {
        let overdue = |why| self.overdue[why as usize].load(Ordering::Relaxed);
        traffic.late_heads += overdue(Overdue::Head);
        traffic.idle += overdue(Overdue::Idle);
        traffic.slow_readers += overdue(Overdue::Write);
        traffic.accepted += self.accepted.load(Ordering::Relaxed);
        let open = self.lock();
        traffic.requests += self.requests.load(Ordering::Relaxed);
        traffic.connections += open.len();
        for connection in open.values() {
            let state = connection.lock();
            traffic.requests += state.total;
            traffic.in_flight += state.in_flight();
        }
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
