//! Access to connections: every statement passes through here, so that the state of a connection is known when it
//! returns to the pool.

use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use sqlx::{Connection as _, Describe, Either, Error, Execute, Executor, SqlStr};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Span, field::Empty};

use super::pool::{Caller, Checkout, Connection, Discard, Pool, Slot};
use super::{Engine, errors};
use crate::context::{RequestContext, Trace};
use crate::telemetry::span;

/// An executor of sqlx that runs one statement on a connection of a pool.
#[derive(Debug)]
pub struct Access<'a, E: Engine> {
    pool: &'a Arc<Pool<E>>,
    caller: Caller,
}

impl<'a, E: Engine> Access<'a, E> {
    #[track_caller]
    pub(super) fn new(pool: &'a Arc<Pool<E>>) -> Self {
        let caller = Location::caller();
        Self { pool, caller }
    }

    pub(super) async fn checkout(self) -> Result<Lease<E>, Error> {
        let settings = &self.pool.settings;
        Ok(Lease {
            // The server cancels a statement first, and says which one it was.
            limit: settings.statement_timeout + settings.ping_timeout(),
            checkout: Some(self.pool.checkout(self.caller).await?),
            progress: Progress::Done,
            transaction: TransactionState::None,
        })
    }
}

/// A connection that returns to its pool when the lease is dropped. `&mut lease` is an sqlx executor.
pub struct Lease<E: Engine> {
    /// `None` once it was given back.
    checkout: Option<Checkout<E>>,
    limit: Duration,
    progress: Progress,
    transaction: TransactionState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Done,
    /// It has begun, and its result has not been read. It may have been cancelled.
    Running,
    /// The connection cannot return to the pool.
    Unusable(Discard),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransactionState {
    None,
    Open,
    /// One of its statements failed or was cancelled.
    Aborted,
}

impl<E: Engine> Lease<E> {
    /// It is checked out already.
    fn checkout(&mut self) -> Ready<Result<&mut Self, Error>> {
        ready(Ok(self))
    }

    /// Lends the connection itself. Afterwards it is closed, and does not return to the pool.
    pub(super) fn detach(&mut self) -> Result<&mut E::Connection, Error> {
        self.start(Progress::Unusable(Discard::Detached))
    }

    /// Records that a statement begins, and returns the connection for it.
    fn start(&mut self, progress: Progress) -> Result<&mut E::Connection, Error> {
        if self.progress == Progress::Running && self.transaction == TransactionState::Open {
            self.transaction = TransactionState::Aborted;
        }
        if self.transaction == TransactionState::Aborted {
            // Postgres would refuse a statement, and answer a `COMMIT` with success. SQLite may have rolled back,
            // and would run the statement on its own.
            let words = "a statement of this transaction has failed before";
            return Err(Error::Protocol(words.to_owned()));
        }
        if RequestContext::time_left().is_some_and(|left| left.is_zero()) {
            return Err(statement_timeout());
        }
        let is_usable = !matches!(self.progress, Progress::Unusable(_));
        let Some((connection, _)) = self.checkout.as_mut().filter(|_| is_usable) else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        self.progress = progress;
        Ok(&mut connection.sqlx)
    }

    /// The span of a statement, if the request is sampled. It names the caller: the text may contain values.
    fn span(&self) -> Span {
        let (Some((_, slot)), Some(_)) = (&self.checkout, Trace::current_sampled()) else {
            return Span::none();
        };
        // No filter but `off` disables this level.
        tracing::error_span!(
            span::STATEMENT,
            system = E::NAME.to_lowercase(), // as in OpenTelemetry's conventions
            file = slot.caller.file(),
            line = slot.caller.line(),
            error = Empty,
        )
    }

    fn end(&mut self, result: &Result<(), Error>) {
        self.progress = Progress::Done;
        let Err(error) = result else { return };
        if E::is_fatal(error) {
            self.progress = Progress::Unusable(Discard::Broken);
        }
        let is_open = self.transaction == TransactionState::Open;
        if matches!(error, Error::Database(_)) && (is_open || E::MAY_LEAVE_TRANSACTION_OPEN) {
            self.transaction = TransactionState::Aborted;
        }
    }

    /// Returns the connection to the pool: at once if it is clean, and otherwise in a task, which is returned.
    fn give_back(&mut self) -> Option<JoinHandle<()>> {
        let (connection, slot) = self.checkout.take()?;
        if self.progress == Progress::Done && self.transaction == TransactionState::None {
            slot.pool.put_back(connection);
            return None;
        }
        let runtime = Handle::try_current().ok()?;
        let clean_up = clean_up(connection, slot, self.progress, self.transaction);
        #[expect(
            clippy::disallowed_methods,
            reason = "it has a time limit, and a close of the pool waits for it"
        )]
        Some(runtime.spawn(clean_up))
    }
}

/// A transaction: `&mut *transaction` is an sqlx executor. It is rolled back unless it is [committed](Self::commit).
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<E: Engine>(Lease<E>);

impl<E: Engine> Transaction<E> {
    pub(super) async fn begin(mut lease: Lease<E>) -> Result<Self, Error> {
        // First: if it is cancelled, it may have begun.
        lease.transaction = TransactionState::Open;
        lease.execute(E::BEGIN).await?;
        Ok(Self(lease))
    }

    /// Commits the transaction, or fails and rolls it back if a statement has failed. If the connection breaks
    /// meanwhile, the outcome is unknown.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.0.execute("COMMIT").await?;
        self.0.transaction = TransactionState::None;
        Ok(())
    }

    /// Rolls the transaction back, and waits for that. A drop rolls it back in the background.
    pub async fn rollback(mut self) {
        if let Some(clean_up) = self.0.give_back() {
            _ = clean_up.await;
        }
    }
}

impl<E: Engine> Deref for Transaction<E> {
    type Target = Lease<E>;

    fn deref(&self) -> &Lease<E> {
        &self.0
    }
}

impl<E: Engine> DerefMut for Transaction<E> {
    fn deref_mut(&mut self) -> &mut Lease<E> {
        &mut self.0
    }
}

/// Implements sqlx's executor for a type whose `checkout` gives a lease.
macro_rules! impl_executor {
    ($executor:ty) => {
        #[allow(clippy::mut_mut, reason = "one of the two checkouts gives a reference")]
        impl<'c, E: Engine> Executor<'c> for $executor {
            type Database = E;

            fn fetch_many<'e, 'q: 'e, Q>(
                self,
                query: Q,
            ) -> BoxStream<'e, Result<Either<E::QueryResult, E::Row>, Error>>
            where
                'c: 'e,
                Q: 'q + Execute<'q, E>,
            {
                Box::pin(async_stream::try_stream! {
                    let lease = &mut self.checkout().await?;
                    let deadline = Instant::now() + lease.limit;
                    let span = lease.span();
                    let connection = lease.start(Progress::Running)?;
                    let mut rows = E::executor(connection).fetch_many(query);
                    let ended = loop {
                        match timeout_at(deadline, rows.next()).await {
                            Ok(Some(Ok(row))) => yield row,
                            Ok(Some(Err(error))) => break Err(error),
                            Ok(None) => break Ok(()),
                            Err(_elapsed) => break Err(statement_timeout()),
                        }
                    };
                    drop(rows);
                    lease.end(&ended);
                    if let Err(error) = &ended {
                        span.record("error", &*errors::code(error));
                    }
                    ended?;
                })
            }

            fn fetch_optional<'e, 'q: 'e, Q>(
                self,
                query: Q,
            ) -> BoxFuture<'e, Result<Option<E::Row>, Error>>
            where
                'c: 'e,
                Q: 'q + Execute<'q, E>,
            {
                // To the end, where SQLite commits: the row of a `RETURNING` comes before that.
                let rows = self.fetch_many(query);
                let first = rows.try_fold(None, |first: Option<_>, next| {
                    ready(Ok(first.or(next.right())))
                });
                Box::pin(first)
            }

            fn prepare_with<'e>(
                self,
                _: SqlStr,
                _: &'e [E::TypeInfo],
            ) -> BoxFuture<'e, Result<E::Statement, Error>>
            where
                'c: 'e,
            {
                // sqlx prepares a statement when it runs.
                let refused = Error::Protocol("no statement is prepared alone".to_owned());
                Box::pin(ready(Err(refused)))
            }

            fn describe<'e>(self, _: SqlStr) -> BoxFuture<'e, Result<Describe<E>, Error>>
            where
                'c: 'e,
            {
                let refused = Error::Protocol("only sqlx's macros describe a statement".to_owned());
                Box::pin(ready(Err(refused)))
            }
        }
    };
}

impl_executor!(Access<'c, E>);
impl_executor!(&'c mut Lease<E>);

fn statement_timeout() -> Error {
    io::Error::new(io::ErrorKind::TimedOut, "statement timeout").into()
}

impl<E: Engine> Drop for Lease<E> {
    fn drop(&mut self) {
        drop(self.give_back());
    }
}

impl<E: Engine> fmt::Debug for Lease<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

/// Cleans the connection and returns it to the pool, or closes it. The slot is free only afterwards: SQLite may have
/// only one connection that writes.
async fn clean_up<E: Engine>(
    mut connection: Connection<E>,
    slot: Slot<E>,
    progress: Progress,
    transaction: TransactionState,
) {
    let pool = &slot.pool;
    let is_running = progress != Progress::Done;
    connection.interrupt.store(is_running, Ordering::Relaxed);
    let reason = if let Progress::Unusable(reason) = progress {
        reason
    } else {
        let reset = reset(&mut connection, transaction);
        match timeout(pool.settings.ping_timeout(), reset).await {
            Ok(Ok(())) => return pool.put_back(connection),
            Ok(Err(_)) => Discard::Broken,
            Err(_elapsed) => Discard::Unfinished,
        }
    };
    pool.discard(connection, reason).await;
}

async fn reset<E: Engine>(
    connection: &mut Connection<E>,
    transaction: TransactionState,
) -> Result<(), Error> {
    if connection.interrupt.load(Ordering::Relaxed) {
        // A connection works in order: the answer to the ping comes after the end of the statement.
        connection.sqlx.ping().await?;
        connection.interrupt.store(false, Ordering::Relaxed);
    }
    if transaction == TransactionState::None {
        return Ok(());
    }
    match E::executor(&mut connection.sqlx).execute("ROLLBACK").await {
        // On SQLite, it is refused if there is no transaction.
        Err(error) if !matches!(error, Error::Database(_)) || E::is_fatal(&error) => Err(error),
        _ => Ok(()),
    }
}
