//! A connection that is checked out. Every statement passes through here, so that the state of the connection is
//! known when it returns to the pool.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{Connection as _, Error, Executor};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Span;

use super::engine::Engine;
use super::errors;
use super::pool::{Caller, Checkout, Connection, Discard};
use super::span;
use crate::context::Context;

/// A connection that returns to its pool when the lease is dropped. `&mut lease` is an sqlx executor.
pub struct Lease<E: Engine> {
    /// `None` only during the drop.
    checkout: Option<Checkout<E>>,
    /// The time limit of a statement.
    pub(super) limit: Duration,
    caller: Caller,
    progress: Progress,
    transaction: TransactionState,
    /// The span of the running statement.
    span: Span,
}

/// The state of the last statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    /// It has begun, and its result has not been read. It may have been cancelled.
    Running,
    /// The connection cannot return to the pool: the last statement broke it, or whether a transaction is open is
    /// unknown.
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
    pub(super) fn new(checkout: Checkout<E>) -> Self {
        Self {
            limit: E::client_timeout(&checkout.slot.pool.limits),
            caller: checkout.slot.caller,
            checkout: Some(checkout),
            progress: Progress::Done,
            transaction: TransactionState::None,
            span: Span::none(),
        }
    }

    /// Lends the connection itself. Afterwards it is closed, and does not return to the pool.
    pub(super) fn detach(&mut self) -> Result<&mut E::Connection, Error> {
        self.start(Progress::Unusable(Discard::Detached), "")
    }

    /// Runs a statement that begins or ends a transaction. If the caller is cancelled meanwhile, the connection is
    /// closed.
    async fn control(&mut self, statement: &'static str) -> Result<(), Error> {
        let limit = self.limit;
        let connection = self.start(Progress::Unusable(Discard::Unfinished), statement)?;
        let done = within(limit, E::executor(connection).execute(statement)).await;
        self.end(done).map(drop)
    }

    /// Runs `work` on the connection, within the time limit of a statement.
    pub(super) async fn run<T>(
        &mut self,
        sql: &str,
        work: impl for<'c> FnOnce(&'c mut E::Connection) -> BoxFuture<'c, Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let limit = self.limit;
        let done = within(limit, work(self.start(Progress::Running, sql)?)).await;
        self.end(done)
    }

    /// Returns the connection for a statement that begins now, and records that it has begun.
    pub(super) fn start(
        &mut self,
        progress: Progress,
        sql: &str,
    ) -> Result<&mut E::Connection, Error> {
        if self.progress == Progress::Running && self.transaction == TransactionState::Open {
            self.transaction = TransactionState::Aborted;
        }
        if self.transaction == TransactionState::Aborted {
            // Postgres would refuse a statement, and answer a `COMMIT` with success. SQLite may have rolled back,
            // and would run the statement on its own.
            let words = "a statement of this transaction has failed before";
            return Err(Error::Protocol(words.to_owned()));
        }
        if Context::time_left().is_some_and(|left| left.is_zero()) {
            return Err(statement_timeout());
        }
        let is_usable = !matches!(self.progress, Progress::Unusable(_));
        let Some(checkout) = self.checkout.as_mut().filter(|_| is_usable) else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        self.progress = progress;
        self.span = span::of::<E>(sql, self.caller);
        Ok(&mut checkout.connection.sqlx)
    }

    /// Records the result of the statement.
    pub(super) fn end<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.progress = Progress::Done;
        let span = std::mem::replace(&mut self.span, Span::none());
        if let Err(error) = &result {
            if !span.is_disabled() {
                span.record("error", &*errors::code(error));
            }
            if E::is_fatal(error) {
                self.progress = Progress::Unusable(Discard::Broken);
            }
            let may_be_open =
                self.transaction == TransactionState::Open || E::MAY_LEAVE_TRANSACTION_OPEN;
            if may_be_open && matches!(error, Error::Database(_)) {
                self.transaction = TransactionState::Aborted;
            }
        }
        result
    }
}

/// A transaction: `&mut *transaction` is an sqlx executor. It is rolled back when it is dropped without a
/// [commit](Self::commit).
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<E: Engine>(Lease<E>);

impl<E: Engine> Transaction<E> {
    pub(super) async fn begin(mut lease: Lease<E>) -> Result<Self, Error> {
        lease.control(E::BEGIN).await?;
        lease.transaction = TransactionState::Open;
        Ok(Self(lease))
    }

    /// Commits the transaction.
    ///
    /// # Errors
    ///
    /// If the database refuses the commit, or a statement has failed. The transaction is then rolled back. If
    /// the connection breaks during the commit, the outcome of the transaction is unknown.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.0.control("COMMIT").await?;
        self.0.transaction = TransactionState::None;
        Ok(())
    }

    /// Rolls the transaction back, and waits for the result. A drop rolls it back in the background.
    pub async fn rollback(mut self) {
        if self.undo("ROLLBACK").await.is_ok() {
            self.0.transaction = TransactionState::None;
        }
    }

    /// Runs a `ROLLBACK`, which is allowed after a failed statement.
    async fn undo(&mut self, statement: &'static str) -> Result<(), Error> {
        let lease = &mut self.0;
        if lease.transaction == TransactionState::Aborted && lease.progress == Progress::Done {
            lease.transaction = TransactionState::Open;
        }
        lease.control(statement).await
    }
}

/// For idempotency keys.
#[cfg(any(test, feature = "idempotency"))]
impl<E: Engine> Transaction<E> {
    /// Takes the lock of this name until the transaction ends. Returns false if another transaction holds it.
    pub(crate) async fn try_claim(&mut self, name: &str) -> Result<bool, Error> {
        let name = name.to_owned();
        let run = self.run("SELECT", |connection| E::try_claim(connection, name));
        run.await
    }

    pub(crate) async fn set_savepoint(&mut self) -> Result<(), Error> {
        let savepoint = self.0.execute("SAVEPOINT attempt");
        savepoint.await.map(drop)
    }

    /// Rolls back to the savepoint, also after a failed statement.
    pub(crate) async fn rollback_to_savepoint(&mut self) -> Result<(), Error> {
        self.undo("ROLLBACK TO SAVEPOINT attempt").await
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

/// Returns the result of a statement, or a timeout error when the limit has passed.
pub(super) async fn within<T>(
    limit: Duration,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let done = timeout(limit, statement).await;
    done.unwrap_or_else(|_elapsed| Err(statement_timeout()))
}

fn statement_timeout() -> Error {
    io::Error::new(io::ErrorKind::TimedOut, "statement timeout").into()
}

impl<E: Engine> Drop for Lease<E> {
    fn drop(&mut self) {
        let Some(checkout) = self.checkout.take() else {
            return;
        };
        if self.progress == Progress::Done && self.transaction == TransactionState::None {
            checkout.put_back();
        } else if let Ok(runtime) = Handle::try_current() {
            let clean_up = clean_up(checkout, self.progress, self.transaction);
            #[expect(
                clippy::disallowed_methods,
                reason = "it has a time limit, and a close of the pool waits for it"
            )]
            drop(runtime.spawn(clean_up));
        }
    }
}

/// Rolls back and returns the connection to the pool, or closes it.
async fn clean_up<E: Engine>(
    mut checkout: Checkout<E>,
    progress: Progress,
    transaction: TransactionState,
) {
    let limit = checkout.slot.pool.limits.ping;
    let connection = &mut checkout.connection;
    let is_interrupted = progress != Progress::Done;
    connection
        .interrupt
        .store(is_interrupted, Ordering::Relaxed);
    let reason = if let Progress::Unusable(reason) = progress {
        reason
    } else {
        match timeout(limit, reset(connection, transaction)).await {
            Ok(Ok(())) => return checkout.put_back(),
            Ok(Err(_)) => Discard::Broken,
            Err(_elapsed) => Discard::Unfinished,
        }
    };
    checkout.close(reason).await;
}

/// Waits until no statement runs, and rolls back.
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
        // On SQLite, it is refused if there is no transaction any more.
        Err(error) if !matches!(error, Error::Database(_)) || E::is_fatal(&error) => Err(error),
        _ => Ok(()),
    }
}

impl<E: Engine> fmt::Debug for Lease<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("progress", &self.progress)
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}
