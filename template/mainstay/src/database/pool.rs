//! A pool of connections, each of which is checked out by one caller at a time, and returned in a clean state.
//!
//! - A caller that gets no connection within `acquire_timeout` fails with [`sqlx::Error::PoolTimedOut`]. If the
//!   database cannot be reached, the caller gets that error at once.
//! - A connection returns when its [`Lease`] is dropped. If no statement is running, the next caller has it at
//!   once, without a round trip. If a query was dropped halfway, or a transaction is open, the pool cleans the
//!   connection first, and closes it if that takes too long.
//! - The pool pings a connection that was idle before it gives it out.
//! - No connection gets older than about `max_lifetime`, and they do not expire at the same time.
//!
//! sqlx's own pool pings each connection on its return, without a timeout: on a dead link, it loses the connection
//! for ever (docs/decisions of the template).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{ConnectOptions, Connection as _, Error};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::engine::Engine;
use super::loan::{Loan, Place, Waiting};
use super::numbers::{Discard, Waits};
use crate::context::Context;
use crate::metrics::pools::Numbers;

/// What a pool keeps to.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) connections: u32,
    /// For a caller that waits for a connection.
    pub(super) acquire: Duration,
    /// For a round trip that asks nothing.
    pub(super) ping: Duration,
    pub(super) statement: Duration,
    pub(super) lifetime: Duration,
    /// After which the holder of a connection is logged.
    pub(super) hold: Duration,
}

/// How long a connection may be idle before it is asked whether it still works.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct Pool<E: Engine>(Arc<Inner<E>>);

impl<E: Engine> Clone for Pool<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

type Options<E> = <<E as sqlx::Database>::Connection as sqlx::Connection>::Options;

/// A connection that is checked out, and what gives it back.
pub(super) type Checkout<E> = (Live<E>, Ticket<E>);

struct Inner<E: Engine> {
    options: Options<E>,
    limits: Limits,
    room: Arc<Semaphore>,
    state: Mutex<State<E>>,
    waiting: AtomicUsize,
    next: AtomicU64,
    closing: AtomicBool,
    returned: Notify,
    waits: Waits,
}

struct State<E: Engine> {
    /// The last one that came back is the next to go.
    idle: Vec<Idle<E>>,
    lent: HashMap<u64, Loan<E::Interrupt>>,
    /// Whatever has been idle since before that is not to be trusted.
    suspect: Option<Instant>,
    longest_hold: Duration,
}

struct Idle<E: Engine> {
    live: Live<E>,
    since: Instant,
}

/// An open connection.
pub(super) struct Live<E: Engine> {
    pub(super) connection: E::Connection,
    pub(super) interrupt: E::Interrupt,
    /// The end of its life.
    end: Instant,
}

impl<E: Engine> Pool<E> {
    pub(super) fn new(options: Options<E>, limits: Limits) -> Self {
        let room = usize::try_from(limits.connections).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            options,
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            limits,
            state: Mutex::new(State {
                idle: Vec::new(),
                lent: HashMap::new(),
                suspect: None,
                longest_hold: Duration::ZERO,
            }),
            waiting: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            returned: Notify::new(),
            waits: Waits::default(),
        }))
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// A connection that works.
    pub(super) async fn checkout(&self, place: Place) -> Result<Checkout<E>, Error> {
        let began = Instant::now();
        let patience = Context::time_left().unwrap_or(Duration::MAX);
        if patience.is_zero() {
            // Nobody waits for what would be done.
            self.0.waits.give_up();
            return Err(Error::PoolTimedOut);
        }
        let deadline = began + self.0.limits.acquire.min(patience);
        let lent = match self.admit(deadline).await {
            Ok(room) => self.connection(room, place, deadline).await,
            Err(error) => Err(error),
        };
        match &lent {
            Ok(_) => self.0.waits.record(began.elapsed()),
            Err(Error::PoolTimedOut) => self.0.waits.give_up(),
            Err(_) => {}
        }
        lent
    }

    /// Room for one more loan.
    async fn admit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Error> {
        use tokio::sync::TryAcquireError::{Closed, NoPermits};
        match Arc::clone(&self.0.room).try_acquire_owned() {
            Ok(room) => return Ok(room),
            Err(Closed) => return Err(Error::PoolClosed),
            Err(NoPermits) => {}
        }
        let _waits = Waiting::among(&self.0.waiting);
        let room = Arc::clone(&self.0.room).acquire_owned();
        match timeout_at(deadline, room).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_closed)) => Err(Error::PoolClosed),
            Err(_late) => Err(Error::PoolTimedOut),
        }
    }

    /// A connection for whoever has room for it: an idle one, or else a new one.
    async fn connection(
        &self,
        room: OwnedSemaphorePermit,
        place: Place,
        deadline: Instant,
    ) -> Result<Checkout<E>, Error> {
        // From here on it counts as lent, also while it is made: a close waits for it.
        let ticket = self.sign(room, place)?;
        loop {
            let Some((mut live, trusted)) = self.take(&ticket) else {
                let live = timeout_at(deadline, self.connect()).await;
                let live = live.unwrap_or(Err(Error::PoolTimedOut))?;
                self.lock().now_has(&ticket, &live);
                if self.is_closing() {
                    E::interrupt(&live.interrupt);
                }
                return Ok((live, ticket));
            };
            if Instant::now() >= live.end {
                self.discard(live, Discard::Old).await;
                continue;
            }
            if trusted {
                return Ok((live, ticket));
            }
            let wait = self
                .0
                .limits
                .ping
                .min(deadline.duration_since(Instant::now()));
            match timeout(wait, live.connection.ping()).await {
                Ok(Ok(())) => return Ok((live, ticket)),
                Ok(Err(_)) => self.0.waits.discard(Discard::Dead),
                Err(_) => {
                    self.0.waits.discard(Discard::Dead);
                    // The others have been idle for longer still, over the same link.
                    self.forget_idle();
                }
            }
        }
    }

    async fn connect(&self) -> Result<Live<E>, Error> {
        let mut connection = self.0.options.connect().await?;
        let interrupt = E::install_interrupt(&mut connection).await?;
        // Between three quarters of it and all, so that they do not all go at once.
        let lifetime = self
            .0
            .limits
            .lifetime
            .mul_f64(0.75 + 0.25 * fastrand::f64());
        Ok(Live {
            connection,
            interrupt,
            end: Instant::now() + lifetime,
        })
    }

    fn sign(&self, room: OwnedSemaphorePermit, place: Place) -> Result<Ticket<E>, Error> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        // A close counts whoever has one; nobody may come after that.
        if self.is_closing() {
            return Err(Error::PoolClosed);
        }
        state.lent.insert(id, Loan::to(place));
        drop(state);
        Ok(Ticket {
            pool: self.clone(),
            id,
            place,
            _room: room,
        })
    }

    /// The connection that came back last, and whether it can be trusted without asking it.
    fn take(&self, ticket: &Ticket<E>) -> Option<(Live<E>, bool)> {
        let mut state = self.lock();
        let idle = state.idle.pop()?;
        state.now_has(ticket, &idle.live);
        let suspected = state.suspect.is_some_and(|suspect| idle.since <= suspect);
        Some((idle.live, !suspected && idle.since.elapsed() < IDLE))
    }

    /// Takes back a connection on which nothing is under way; or not, since there will be nobody to
    /// lend it to.
    pub(super) fn take_back(&self, live: Live<E>, ticket: Ticket<E>) -> Result<(), Checkout<E>> {
        let mut state = self.lock();
        // Looked at under the lock under which a close takes what is idle.
        if self.is_closing() {
            return Err((live, ticket));
        }
        let since = Instant::now();
        state.idle.push(Idle { live, since });
        drop(state);
        // There is room for the next one only now.
        drop(ticket);
        Ok(())
    }

    /// Closes a connection that was lent. Its place is free only when it is gone: SQLite may have only
    /// one that writes.
    pub(super) async fn retire(&self, live: Live<E>, ticket: Ticket<E>, reason: Discard) {
        if reason == Discard::Broken {
            // Those that are idle may be as well.
            self.lock().suspect = Some(Instant::now());
        }
        self.discard(live, reason).await;
        drop(ticket);
    }

    /// Closes a connection, and says so to the other side if there is time for that.
    async fn discard(&self, live: Live<E>, reason: Discard) {
        self.0.waits.discard(reason);
        _ = timeout(self.0.limits.ping, live.connection.close()).await;
    }

    /// A loan is over.
    pub(super) fn settle(&self, id: u64) {
        let mut state = self.lock();
        if let Some(loan) = state.lent.remove(&id) {
            state.longest_hold = state.longest_hold.max(loan.since.elapsed());
        }
        drop(state);
        if self.is_closing() {
            self.0.returned.notify_one();
        }
    }

    fn forget_idle(&self) {
        let idle = std::mem::take(&mut self.lock().idle);
        for _ in idle {
            self.0.waits.discard(Discard::Dead);
        }
    }

    /// Closes what has lived long enough, and tells of whoever holds a connection for too long: to be
    /// called now and then.
    pub(super) async fn maintain(&self) {
        let (old, late) = self.expired_and_overdue();
        for loan in late {
            self.0.waits.hold_long();
            let held = loan.since.elapsed();
            tracing::warn!(by = %loan.place, ?held, "a database connection is held for long");
        }
        for idle in old {
            self.discard(idle.live, Discard::Old).await;
        }
    }

    /// Gives away what has lived long enough, and the loans that last for too long: each of them once.
    fn expired_and_overdue(&self) -> (Vec<Idle<E>>, Vec<Loan<E::Interrupt>>) {
        let now = Instant::now();
        let mut state = self.lock();
        let is_old = |idle: &mut Idle<E>| now >= idle.live.end;
        let old = state.idle.extract_if(.., is_old).collect();
        let mut late = Vec::new();
        for loan in state.lent.values_mut() {
            let held = now.duration_since(loan.since);
            if held >= self.0.limits.hold && !loan.warned {
                loan.warned = true;
                late.push(loan.clone());
            }
        }
        (old, late)
    }

    pub(super) fn numbers(&self) -> Numbers {
        let state = self.lock();
        let (idle, in_use) = (state.idle.len(), state.lent.len());
        let now = Instant::now();
        let held = state
            .lent
            .values()
            .map(|loan| now.duration_since(loan.since));
        let longest_hold = held.max().unwrap_or_default().max(state.longest_hold);
        drop(state);
        Numbers {
            max: self.0.limits.connections,
            size: idle + in_use,
            idle,
            in_use,
            waiting: self.0.waiting.load(Ordering::Relaxed),
            longest_hold_ms: u64::try_from(longest_hold.as_millis()).unwrap_or(u64::MAX),
            waits: self.0.waits.so_far(),
        }
    }

    /// Lends no more, and ends what is running.
    pub(super) fn shut(&self) {
        self.0.closing.store(true, Ordering::Release);
        self.0.room.close();
        let state = self.lock();
        for loan in state.lent.values() {
            if let Some(interrupt) = &loan.interrupt {
                E::interrupt(interrupt);
            }
        }
    }

    /// Closes every connection, those that are lent as they come back. Says who had one at the
    /// deadline.
    pub(super) async fn close(&self, deadline: Instant) -> Vec<Loan<E::Interrupt>> {
        self.shut();
        let idle = std::mem::take(&mut self.lock().idle);
        let closed = async {
            for idle in idle {
                _ = idle.live.connection.close().await;
            }
        };
        _ = timeout_at(deadline, closed).await;
        self.returned(deadline).await
    }

    /// Waits until nobody has a connection. Says who has one at the deadline.
    pub(super) async fn returned(&self, deadline: Instant) -> Vec<Loan<E::Interrupt>> {
        let returned = async {
            loop {
                let returned = self.0.returned.notified();
                if self.lock().lent.is_empty() {
                    return;
                }
                returned.await;
            }
        };
        match timeout_at(deadline, returned).await {
            Ok(()) => Vec::new(),
            Err(_) => self.loans(),
        }
    }

    pub(super) fn loans(&self) -> Vec<Loan<E::Interrupt>> {
        self.lock().lent.values().cloned().collect()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Engine> State<E> {
    fn now_has(&mut self, ticket: &Ticket<E>, live: &Live<E>) {
        if let Some(loan) = self.lent.get_mut(&ticket.id) {
            loan.interrupt = Some(live.interrupt.clone());
        }
    }
}

/// What a connection carries with it while it is lent. Room for another loan is made when this is
/// dropped.
pub(super) struct Ticket<E: Engine> {
    pub(super) pool: Pool<E>,
    pub(super) id: u64,
    pub(super) place: Place,
    pub(super) _room: OwnedSemaphorePermit,
}

impl<E: Engine> Drop for Ticket<E> {
    fn drop(&mut self) {
        self.pool.settle(self.id);
    }
}

impl<E: Engine> fmt::Debug for Pool<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.numbers()).finish()
    }
}
