//! Connections that are lent out, each to one at a time, and taken back in the state they were in.
//!
//! - Whoever gets no connection within `acquire_timeout` is told so: [`sqlx::Error::PoolTimedOut`]. A
//!   database that cannot be reached is told as that, and at once.
//! - A connection comes back by itself when its [`Lease`] is dropped, whenever that is. If nothing
//!   was under way, the next one has it at once, without a round trip. If something was, such as a
//!   query that nobody waits for any more or a transaction without its end, it is put in order first;
//!   and if that takes too long, it is closed.
//! - One that has been idle is asked whether it still works before it is lent again.
//! - No connection gets older than about `max_lifetime`, and not all of them at once.
//!
//! It is ours, since sqlx's asks each connection when it comes back, with no time for the answer: a
//! link that has gone dead takes a connection with it for ever (see docs/decisions).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{ConnectOptions, Connection as _, Error};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::engine;
use super::lease::Lease;
use super::loan::{Loan, Place, Ticket, Waiting};
use super::numbers::{Discard, Numbers, Waits};
use super::settings::Limits;
use super::{Connection, Options};
use crate::frame::context::Context;

/// How long a connection may be idle before it is asked whether it still works.
const IDLE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    options: Options,
    limits: Limits,
    room: Arc<Semaphore>,
    state: Mutex<State>,
    waiting: AtomicUsize,
    next: AtomicU64,
    closing: AtomicBool,
    returned: Notify,
    waits: Waits,
}

#[derive(Default)]
struct State {
    /// The last one that came back is the next to go.
    idle: Vec<Idle>,
    lent: HashMap<u64, Loan>,
    /// Whatever has been idle since before that is not to be trusted.
    suspect: Option<Instant>,
    longest_hold: Duration,
}

struct Idle {
    live: Live,
    since: Instant,
}

/// An open connection.
pub(super) struct Live {
    pub(super) connection: Connection,
    pub(super) interrupt: engine::Interrupt,
    /// The end of its life.
    end: Instant,
}

impl Pool {
    pub(super) fn new(options: Options, limits: Limits) -> Self {
        let room = usize::try_from(limits.connections).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            options,
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            limits,
            state: Mutex::default(),
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
    pub(super) async fn lend(&self, place: Place) -> Result<Lease, Error> {
        let began = Instant::now();
        let patience = Context::time_left().unwrap_or(Duration::MAX);
        if patience.is_zero() {
            // Nobody waits for what would be done.
            self.0.waits.give_up();
            return Err(Error::PoolTimedOut);
        }
        let deadline = began + self.0.limits.acquire.min(patience);
        let lent = match self.admit(deadline).await {
            Ok(room) => self.equip(room, place, deadline).await,
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
    async fn equip(
        &self,
        room: OwnedSemaphorePermit,
        place: Place,
        deadline: Instant,
    ) -> Result<Lease, Error> {
        // From here on it counts as lent, also while it is made: a close waits for it.
        let ticket = self.sign(room, place)?;
        loop {
            let Some((mut live, trusted)) = self.take(&ticket) else {
                let live = timeout_at(deadline, self.connect()).await;
                let live = live.unwrap_or(Err(Error::PoolTimedOut))?;
                self.lock().now_has(&ticket, &live);
                if self.is_closing() {
                    live.interrupt.ask();
                }
                return Ok(Lease::new(live, ticket));
            };
            if Instant::now() >= live.end {
                self.say_goodbye(live, Discard::Old).await;
                continue;
            }
            if trusted {
                return Ok(Lease::new(live, ticket));
            }
            let wait = self
                .0
                .limits
                .ping
                .min(deadline.duration_since(Instant::now()));
            match timeout(wait, live.connection.ping()).await {
                Ok(Ok(())) => return Ok(Lease::new(live, ticket)),
                Ok(Err(_)) => self.0.waits.discard(Discard::Dead),
                Err(_) => {
                    self.0.waits.discard(Discard::Dead);
                    // The others have been idle for longer still, over the same link.
                    self.forget_idle();
                }
            }
        }
    }

    async fn connect(&self) -> Result<Live, Error> {
        let mut connection = self.0.options.connect().await?;
        let interrupt = engine::Interrupt::install(&mut connection).await?;
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

    fn sign(&self, room: OwnedSemaphorePermit, place: Place) -> Result<Ticket, Error> {
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
    fn take(&self, ticket: &Ticket) -> Option<(Live, bool)> {
        let mut state = self.lock();
        let idle = state.idle.pop()?;
        state.now_has(ticket, &idle.live);
        let suspected = state.suspect.is_some_and(|suspect| idle.since <= suspect);
        Some((idle.live, !suspected && idle.since.elapsed() < IDLE))
    }

    /// Takes back a connection on which nothing is under way; or not, since there will be nobody to
    /// lend it to.
    pub(super) fn take_back(&self, live: Live, ticket: Ticket) -> Result<(), (Live, Ticket)> {
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
    pub(super) async fn retire(&self, live: Live, ticket: Ticket, reason: Discard) {
        if reason == Discard::Broken {
            // Those that are idle may be as well.
            self.lock().suspect = Some(Instant::now());
        }
        self.say_goodbye(live, reason).await;
        drop(ticket);
    }

    /// Closes a connection, and says so to the other side if there is time for that.
    async fn say_goodbye(&self, live: Live, reason: Discard) {
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
    pub(super) async fn tend(&self) {
        let (old, late) = self.look_around();
        for loan in late {
            self.0.waits.hold_long();
            let held = loan.since.elapsed();
            tracing::warn!(by = %loan.place, ?held, "a database connection is held for long");
        }
        for idle in old {
            self.say_goodbye(idle.live, Discard::Old).await;
        }
    }

    /// Gives away what has lived long enough, and the loans that last for too long: each of them once.
    fn look_around(&self) -> (Vec<Idle>, Vec<Loan>) {
        let now = Instant::now();
        let mut state = self.lock();
        let is_old = |idle: &mut Idle| now >= idle.live.end;
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
                interrupt.ask();
            }
        }
    }

    /// Closes every connection, those that are lent as they come back. Says who had one at the
    /// deadline.
    pub(super) async fn close(&self, deadline: Instant) -> Vec<Loan> {
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
    pub(super) async fn returned(&self, deadline: Instant) -> Vec<Loan> {
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

    pub(super) fn loans(&self) -> Vec<Loan> {
        self.lock().lent.values().cloned().collect()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now_has(&mut self, ticket: &Ticket, live: &Live) {
        if let Some(loan) = self.lent.get_mut(&ticket.id) {
            loan.interrupt = Some(live.interrupt.clone());
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.numbers()).finish()
    }
}
