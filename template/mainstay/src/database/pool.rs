//! A pool of connections: one caller at a time has a connection, and it returns clean.
//!
//! - A caller that gets no connection within `acquire_timeout` fails with [`sqlx::Error::PoolTimedOut`].
//! - When a lease is dropped, a clean connection returns at once. If a statement runs or a transaction is open, a task
//!   cleans it up first. A connection that cannot be cleaned is closed.
//! - A connection that was idle for a second is pinged before it goes out. If the ping fails, all idle ones are closed.

use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::HistogramFn;
use sqlx::{ConnectOptions, Connection as _, Error, pool::PoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::engine::{Engine, Flag, Options};
use super::settings::Settings;
use crate::context::RequestContext;
use crate::metrics::pools::{PoolStatus, Totals};
use crate::panics::lock;

const PING_AFTER: Duration = Duration::from_secs(1);

pub(super) type Caller = &'static Location<'static>;

pub(super) struct Pool<E: Engine> {
    pub(super) name: &'static str,
    options: Options<E>,
    pub(super) settings: Arc<Settings>,
    connections: u32,
    permits: Arc<Semaphore>,
    /// Each caller that waits for a permit has a clone.
    waiting: Arc<()>,
    state: Mutex<State<E>>,
    /// Set when the pool closes. On SQLite, it also interrupts running statements.
    closing: Flag,
    slots: TaskTracker,
}

struct State<E: Engine> {
    /// The last one that returned goes out first.
    idle: Vec<Connection<E>>,
    /// The callers that have a connection, or are about to have one, and since when.
    holders: HashMap<u64, (Caller, Instant)>,
    last_id: u64,
    longest_hold: Duration,
    totals: Totals,
}

pub(super) struct Connection<E: Engine> {
    pub(super) sqlx: E::Connection,
    /// Ends the running statement.
    pub(super) interrupt: Flag,
    expires: Instant,
    returned: Instant,
}

/// The right to have a connection. The next caller gets it when this is dropped.
pub(super) struct Slot<E: Engine> {
    pub(super) pool: Arc<Pool<E>>,
    pub(super) caller: Caller,
    id: u64,
    _permit: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

pub(super) type Checkout<E> = (Connection<E>, Slot<E>);

/// Why a connection is closed before its pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discard {
    Old,
    Dead,
    /// A statement failed with an error after which the connection is useless.
    Broken,
    /// The clean-up did not end in time.
    Unfinished,
    /// Its caller used it directly: not counted.
    Detached,
}

impl<E: Engine> Pool<E> {
    pub(super) fn new(
        name: &'static str,
        options: Options<E>,
        connections: u32,
        settings: Arc<Settings>,
    ) -> Arc<Self> {
        let permits = usize::try_from(connections).unwrap_or(usize::MAX);
        Arc::new(Self {
            name,
            options,
            settings,
            connections,
            permits: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            waiting: Arc::default(),
            state: Mutex::new(State {
                idle: Vec::new(),
                holders: HashMap::new(),
                last_id: 0,
                longest_hold: Duration::ZERO,
                totals: Totals::default(),
            }),
            closing: Flag::default(),
            slots: TaskTracker::new(),
        })
    }

    /// A pool of sqlx with these options, which connects on first use. It pings on the return of a connection, where
    /// sqlx would ping without a time limit. An error in the hook closes the connection without waiting for the server.
    pub(super) fn sqlx_pool(&self) -> sqlx::Pool<E> {
        let settings = &self.settings;
        let limit = settings.ping_timeout();
        PoolOptions::new()
            .max_connections(settings.max_connections.min(4))
            .acquire_timeout(settings.acquire_timeout)
            .max_lifetime(settings.max_lifetime)
            .after_release(move |connection, _| {
                Box::pin(async move { ping(connection, limit).await.map(|()| true) })
            })
            .connect_lazy_with(self.options.clone())
    }

    pub(super) async fn checkout(self: &Arc<Self>, caller: Caller) -> Result<Checkout<E>, Error> {
        let began = Instant::now();
        let left = RequestContext::time_left().unwrap_or(Duration::MAX);
        let limit = self.settings.acquire_timeout.min(left);
        let checkout = timeout(limit, self.checkout_or_connect(caller)).await;
        let checkout = checkout.unwrap_or(Err(Error::PoolTimedOut));
        let totals = &mut lock(&self.state).totals;
        match &checkout {
            Ok(_) => totals.wait.record(began.elapsed().as_secs_f64()),
            Err(Error::PoolTimedOut) => totals.timeouts += 1,
            Err(_) => {}
        }
        checkout
    }

    async fn checkout_or_connect(self: &Arc<Self>, caller: Caller) -> Result<Checkout<E>, Error> {
        let waiting = Arc::clone(&self.waiting);
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        drop(waiting);
        let permit = permit.map_err(|_closed| Error::PoolClosed)?;
        let slot = self.register(permit, caller)?;
        let limit = self.settings.ping_timeout();
        while let Some(mut connection) = self.pop_idle() {
            let is_fresh = connection.returned.elapsed() < PING_AFTER;
            let reason = if Instant::now() >= connection.expires {
                Discard::Old
            } else if is_fresh || ping(&mut connection.sqlx, limit).await.is_ok() {
                return Ok((connection, slot));
            } else {
                Discard::Dead
            };
            self.discard(connection, reason).await;
        }
        Ok((self.connect().await?, slot))
    }

    /// From here on a close waits for the caller, also while a connection is made for it. Fails once the pool closes.
    fn register(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        caller: Caller,
    ) -> Result<Slot<E>, Error> {
        let mut state = lock(&self.state);
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::PoolClosed);
        }
        state.last_id += 1;
        let id = state.last_id;
        state.holders.insert(id, (caller, Instant::now()));
        Ok(Slot {
            pool: Arc::clone(self),
            caller,
            id,
            _permit: permit,
            _token: self.slots.token(),
        })
    }

    fn pop_idle(&self) -> Option<Connection<E>> {
        lock(&self.state).idle.pop()
    }

    async fn connect(&self) -> Result<Connection<E>, Error> {
        let mut sqlx = self.options.connect().await?;
        let interrupt = Flag::default();
        let flags = [Arc::clone(&interrupt), Arc::clone(&self.closing)];
        E::install_interrupts(&mut sqlx, flags).await?;
        // Between three quarters of the lifetime and all of it, so that they do not all expire at once.
        let lifetime = self.settings.max_lifetime;
        let lifetime = lifetime.mul_f64(0.75 + 0.25 * fastrand::f64());
        let now = Instant::now();
        Ok(Connection {
            sqlx,
            interrupt,
            expires: now + lifetime,
            returned: now,
        })
    }

    pub(super) fn put_back(&self, mut connection: Connection<E>) {
        connection.returned = Instant::now();
        lock(&self.state).idle.push(connection);
    }

    pub(super) async fn discard(&self, connection: Connection<E>, reason: Discard) {
        let suspects = {
            let State { idle, totals, .. } = &mut *lock(&self.state);
            match reason {
                Discard::Old => totals.discarded_old += 1,
                Discard::Dead => totals.discarded_dead += 1,
                Discard::Broken => totals.discarded_broken += 1,
                Discard::Unfinished => totals.discarded_unfinished += 1,
                Discard::Detached => {}
            }
            // The idle ones probably have the same fault: a lost link, or stale prepared statements.
            let mut suspects = Vec::new();
            if matches!(reason, Discard::Dead | Discard::Broken) {
                suspects.append(idle);
            }
            totals.discarded_dead += u64::try_from(suspects.len()).unwrap_or(u64::MAX);
            suspects
        };
        drop(suspects);
        _ = timeout(self.settings.ping_timeout(), connection.sqlx.close()).await;
    }

    pub(super) fn status(&self) -> PoolStatus {
        let state = lock(&self.state);
        let holders = || state.holders.values();
        let held = holders().map(|(_, since)| since.elapsed());
        let longest_hold = held.max().unwrap_or_default().max(state.longest_hold);
        PoolStatus {
            max: self.connections,
            size: state.idle.len() + holders().len(),
            idle: state.idle.len(),
            in_use: holders().len(),
            holders: holders().map(|(caller, _)| caller.to_string()).collect(),
            waiting: Arc::strong_count(&self.waiting) - 1,
            longest_hold_ms: u64::try_from(longest_hold.as_millis()).unwrap_or(u64::MAX),
            waits: state.totals.clone(),
        }
    }

    pub(super) fn stop_checkouts(&self) {
        // No caller that registers may come between these.
        let _state = lock(&self.state);
        self.closing.store(true, Ordering::Release);
        self.permits.close();
        self.slots.close();
    }

    pub(super) async fn close(&self, deadline: Instant) {
        self.wait_for_holders(deadline).await;
        while let Some(connection) = self.pop_idle() {
            _ = timeout_at(deadline, connection.sqlx.close()).await;
        }
    }

    pub(super) async fn wait_for_holders(&self, deadline: Instant) {
        _ = timeout_at(deadline, self.slots.wait()).await;
    }
}

async fn ping(connection: &mut impl sqlx::Connection, limit: Duration) -> Result<(), Error> {
    let answer = timeout(limit, connection.ping()).await;
    answer.unwrap_or(Err(Error::PoolTimedOut))
}

impl<E: Engine> Drop for Slot<E> {
    fn drop(&mut self) {
        let state = &mut *lock(&self.pool.state);
        let held = state.holders.remove(&self.id);
        let held = held.map_or(Duration::ZERO, |(_, since)| since.elapsed());
        state.longest_hold = state.longest_hold.max(held);
        if held >= self.pool.settings.hold_warning {
            state.totals.held_long += 1;
            tracing::warn!(by = %self.caller, ?held, "a database connection was held for long");
        }
    }
}

impl<E: Engine> fmt::Debug for Pool<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}
