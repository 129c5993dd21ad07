//! A pool of connections: one caller at a time has a connection, and it returns clean.
//!
//! - A caller that gets no connection within `acquire_timeout` fails with [`sqlx::Error::PoolTimedOut`]. If the
//!   database cannot be reached, the caller gets that error at once.
//! - A connection returns when its lease is dropped: at once and without a round trip if nothing runs on it, or
//!   after a clean-up.
//! - A connection that was idle for a second is pinged, within a time limit, before it goes out.
//! - A connection is closed at about `max_lifetime`, and not all of them at the same time.
//!
//! docs/decisions of the template says why this is not sqlx's own pool.

use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{ConnectOptions, Connection as _, Error};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::engine::{Engine, Interrupt, Options};
use crate::context::Context;
use crate::metrics::pools::{BOUNDS_US, Numbers, Totals};

/// The limits of a pool.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) connections: u32,
    /// For the wait of a caller for a connection.
    pub(super) acquire: Duration,
    /// For a round trip that asks nothing.
    pub(super) ping: Duration,
    pub(super) statement: Duration,
    pub(super) lifetime: Duration,
    /// The time after which the holder of a connection is logged.
    pub(super) hold_warning: Duration,
}

/// A connection that was idle for this long is pinged before it goes out.
pub(super) const PING_AFTER: Duration = Duration::from_secs(1);

/// The location in the code that asked for a connection.
pub(super) type Caller = &'static Location<'static>;

pub(super) struct Pool<E: Engine> {
    pub(super) options: Options<E>,
    pub(super) limits: Limits,
    permits: Arc<Semaphore>,
    /// Each caller that waits for a permit has a clone.
    waiting: Arc<()>,
    state: Mutex<State<E>>,
    closing: AtomicBool,
    /// Notified at each return during a close.
    returned: Notify,
}

struct State<E: Engine> {
    /// The last one that returned goes out first.
    idle: Vec<Connection<E>>,
    holders: HashMap<u64, Holder>,
    last_id: u64,
    /// Connections that have been idle since before this time are pinged before they go out.
    suspect: Option<Instant>,
    longest_hold: Duration,
    totals: Totals,
}

/// An open connection.
pub(super) struct Connection<E: Engine> {
    pub(super) sqlx: E::Connection,
    pub(super) interrupt: Interrupt,
    expires: Instant,
    /// The time of its last return.
    returned: Instant,
}

/// A caller that has a connection, or is about to have one.
struct Holder {
    caller: Caller,
    since: Instant,
    is_logged: bool,
    /// Interrupts the statement of the caller, once there is a connection.
    interrupt: Option<Interrupt>,
}

/// The right to have a connection. The next caller gets it when this is dropped.
pub(super) struct Slot<E: Engine> {
    pub(super) pool: Arc<Pool<E>>,
    pub(super) caller: Caller,
    id: u64,
    _permit: OwnedSemaphorePermit,
}

/// A connection that is checked out.
pub(super) struct Checkout<E: Engine> {
    pub(super) connection: Connection<E>,
    pub(super) slot: Slot<E>,
}

/// Why a connection was closed before its pool was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discard {
    /// It reached its lifetime.
    Old,
    /// It did not answer a ping.
    Dead,
    /// A statement failed with an error after which the connection is useless.
    Broken,
    /// The clean-up did not end in time, or the state of a transaction is unknown.
    Unfinished,
    /// The pool closes, or the connection was detached: not counted.
    Closed,
}

impl<E: Engine> Pool<E> {
    pub(super) fn new(options: Options<E>, limits: Limits) -> Arc<Self> {
        let permits = usize::try_from(limits.connections).unwrap_or(usize::MAX);
        Arc::new(Self {
            options,
            limits,
            permits: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            waiting: Arc::default(),
            state: Mutex::new(State {
                idle: Vec::new(),
                holders: HashMap::new(),
                last_id: 0,
                suspect: None,
                longest_hold: Duration::ZERO,
                totals: Totals::default(),
            }),
            closing: AtomicBool::new(false),
            returned: Notify::new(),
        })
    }

    /// A connection that works.
    pub(super) async fn checkout(self: &Arc<Self>, caller: Caller) -> Result<Checkout<E>, Error> {
        let began = Instant::now();
        let mut limit = self.limits.acquire;
        if let Some(left) = Context::time_left() {
            limit = limit.min(left);
        }
        let checkout = if limit.is_zero() {
            // The request has ended, and a connection would be of no use to it.
            Err(Error::PoolTimedOut)
        } else {
            self.checkout_by(began + limit, caller).await
        };
        let totals = &mut self.lock().totals;
        match &checkout {
            Ok(_) => count_wait(totals, began.elapsed()),
            Err(Error::PoolTimedOut) => totals.timeouts += 1,
            Err(_) => {}
        }
        checkout
    }

    async fn checkout_by(
        self: &Arc<Self>,
        deadline: Instant,
        caller: Caller,
    ) -> Result<Checkout<E>, Error> {
        let waiting = Arc::clone(&self.waiting);
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await;
        drop(waiting);
        let permit = permit.map_err(|_elapsed| Error::PoolTimedOut)?;
        let permit = permit.map_err(|_closed| Error::PoolClosed)?;
        // From here on a close waits for the caller, also while a connection is made for it.
        let slot = self.register(permit, caller)?;
        while let Some((mut connection, is_trusted)) = self.take_idle(slot.id) {
            if Instant::now() >= connection.expires {
                self.discard(connection, Discard::Old).await;
            } else if is_trusted || self.answers(&mut connection, deadline).await {
                return Ok(Checkout { connection, slot });
            }
        }
        let connection = timeout_at(deadline, self.connect()).await;
        let connection = connection.unwrap_or(Err(Error::PoolTimedOut))?;
        self.lock().set_interrupt(slot.id, &connection);
        if self.is_closing() {
            connection.interrupt.set();
        }
        Ok(Checkout { connection, slot })
    }

    fn register(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        caller: Caller,
    ) -> Result<Slot<E>, Error> {
        let mut state = self.lock();
        // Under the lock: a close looks at the holders, and there must be no new one afterwards.
        if self.is_closing() {
            return Err(Error::PoolClosed);
        }
        state.last_id += 1;
        let id = state.last_id;
        let holder = Holder {
            caller,
            since: Instant::now(),
            is_logged: false,
            interrupt: None,
        };
        state.holders.insert(id, holder);
        Ok(Slot {
            pool: Arc::clone(self),
            caller,
            id,
            _permit: permit,
        })
    }

    /// The connection that returned last, and whether it can go out without a ping.
    fn take_idle(&self, id: u64) -> Option<(Connection<E>, bool)> {
        let mut state = self.lock();
        let connection = state.idle.pop()?;
        state.set_interrupt(id, &connection);
        let returned = connection.returned;
        let is_suspect = state.suspect.is_some_and(|suspect| returned <= suspect);
        Some((connection, !is_suspect && returned.elapsed() < PING_AFTER))
    }

    async fn answers(&self, connection: &mut Connection<E>, deadline: Instant) -> bool {
        let limit = deadline.duration_since(Instant::now());
        let limit = limit.min(self.limits.ping);
        let answer = timeout(limit, connection.sqlx.ping()).await;
        if let Ok(Ok(())) = answer {
            return true;
        }
        let mut state = self.lock();
        state.count_discard(Discard::Dead);
        let mut dead = Vec::new();
        if answer.is_err() {
            // The others have been idle for even longer, over the same link.
            dead = std::mem::take(&mut state.idle);
            for _ in &dead {
                state.count_discard(Discard::Dead);
            }
        }
        drop(state);
        drop(dead);
        false
    }

    async fn connect(&self) -> Result<Connection<E>, Error> {
        let mut sqlx = self.options.connect().await?;
        let interrupt = Interrupt::default();
        E::install_interrupt(&mut sqlx, &interrupt).await?;
        // Between three quarters of the lifetime and all of it, so that they do not all expire at once.
        let lifetime = self.limits.lifetime;
        let lifetime = lifetime.mul_f64(0.75 + 0.25 * fastrand::f64());
        let now = Instant::now();
        Ok(Connection {
            sqlx,
            interrupt,
            expires: now + lifetime,
            returned: now,
        })
    }

    /// Closes a connection, and tells the server if there is time for that.
    async fn discard(&self, connection: Connection<E>, reason: Discard) {
        self.lock().count_discard(reason);
        _ = timeout(self.limits.ping, connection.sqlx.close()).await;
    }

    /// Closes expired connections, and logs each caller that holds one for too long, once.
    pub(super) async fn maintain(&self) {
        let now = Instant::now();
        let mut overdue = Vec::new();
        let expired: Vec<_> = {
            let state = &mut *self.lock();
            for holder in state.holders.values_mut() {
                let held = now.duration_since(holder.since);
                if held >= self.limits.hold_warning && !holder.is_logged {
                    holder.is_logged = true;
                    state.totals.held_long += 1;
                    overdue.push((holder.caller, held));
                }
            }
            let is_expired = |idle: &mut Connection<E>| now >= idle.expires;
            state.idle.extract_if(.., is_expired).collect()
        };
        for (caller, held) in overdue {
            tracing::warn!(by = %caller, ?held, "a database connection is held for long");
        }
        for connection in expired {
            self.discard(connection, Discard::Old).await;
        }
    }

    pub(super) fn numbers(&self) -> Numbers {
        let state = self.lock();
        let (idle, in_use) = (state.idle.len(), state.holders.len());
        let held = state.holders.values().map(|holder| holder.since.elapsed());
        let longest_hold = held.max().unwrap_or_default().max(state.longest_hold);
        Numbers {
            max: self.limits.connections,
            size: idle + in_use,
            idle,
            in_use,
            waiting: Arc::strong_count(&self.waiting) - 1,
            longest_hold_ms: u64::try_from(longest_hold.as_millis()).unwrap_or(u64::MAX),
            waits: state.totals.clone(),
        }
    }

    /// Gives out no more connections, and interrupts running statements.
    pub(super) fn stop_checkouts(&self) {
        self.closing.store(true, Ordering::Release);
        self.permits.close();
        for holder in self.lock().holders.values() {
            if let Some(interrupt) = &holder.interrupt {
                interrupt.set();
            }
        }
    }

    /// Closes every connection: idle ones now, the others when they return. Returns the callers that still
    /// hold one at the deadline.
    pub(super) async fn close(&self, deadline: Instant) -> Vec<String> {
        self.stop_checkouts();
        let idle = std::mem::take(&mut self.lock().idle);
        let closed = async {
            for connection in idle {
                _ = connection.sqlx.close().await;
            }
        };
        _ = timeout_at(deadline, closed).await;
        self.all_returned(deadline).await;
        self.holders()
    }

    /// Waits until no caller has a connection, or until the deadline.
    pub(super) async fn all_returned(&self, deadline: Instant) {
        let all_returned = async {
            while !self.lock().holders.is_empty() {
                // A return before this line is remembered.
                self.returned.notified().await;
            }
        };
        _ = timeout_at(deadline, all_returned).await;
    }

    pub(super) fn holders(&self) -> Vec<String> {
        let state = self.lock();
        let callers = state.holders.values().map(|holder| holder.caller);
        let names = callers.map(|caller| format!("a database connection ({caller})"));
        names.collect()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Engine> State<E> {
    fn set_interrupt(&mut self, id: u64, connection: &Connection<E>) {
        if let Some(holder) = self.holders.get_mut(&id) {
            holder.interrupt = Some(connection.interrupt.clone());
        }
    }

    fn count_discard(&mut self, reason: Discard) {
        let totals = &mut self.totals;
        match reason {
            Discard::Old => totals.discarded_old += 1,
            Discard::Dead => totals.discarded_dead += 1,
            Discard::Broken => totals.discarded_broken += 1,
            Discard::Unfinished => totals.discarded_unfinished += 1,
            Discard::Closed => {}
        }
    }
}

fn count_wait(totals: &mut Totals, waited: Duration) {
    let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
    let bucket = BOUNDS_US.iter().position(|bound| waited <= *bound);
    totals.acquired[bucket.unwrap_or(BOUNDS_US.len())] += 1;
    totals.waited_us += waited;
}

impl<E: Engine> Checkout<E> {
    /// Returns a clean connection to the pool. A pool that closes does not take it.
    pub(super) fn put_back(self) -> Result<(), Self> {
        let pool = Arc::clone(&self.slot.pool);
        let mut state = pool.lock();
        // Under the lock: a close takes the idle connections, and there must be no new one afterwards.
        if pool.is_closing() {
            return Err(self);
        }
        let Self {
            mut connection,
            slot,
        } = self;
        connection.returned = Instant::now();
        state.idle.push(connection);
        drop(state);
        drop(slot);
        Ok(())
    }

    /// Closes the connection. Its slot is free only afterwards: SQLite may have only one that writes.
    pub(super) async fn close(self, reason: Discard) {
        let Self { connection, slot } = self;
        if reason == Discard::Broken {
            // The idle ones may be broken as well.
            slot.pool.lock().suspect = Some(Instant::now());
        }
        slot.pool.discard(connection, reason).await;
    }
}

impl<E: Engine> Drop for Slot<E> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if let Some(holder) = state.holders.remove(&self.id) {
            state.longest_hold = state.longest_hold.max(holder.since.elapsed());
        }
        drop(state);
        if self.pool.is_closing() {
            self.pool.returned.notify_one();
        }
    }
}

impl<E: Engine> fmt::Debug for Pool<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.numbers()).finish()
    }
}
