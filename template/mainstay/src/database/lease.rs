//! A connection that is checked out. Every statement passes through here, so that the state of the connection is
//! known when it returns to the pool.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::{Connection as _, Error, Executor};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Span;
use tracing::field::Empty;

use super::engine::Engine;
use super::errors;
use super::pool::{Caller, Checkout, Connection, Discard, Slot};
use crate::context::{RequestContext, Trace};
use crate::telemetry::span;

/// A connection that returns to its pool when the lease is dropped. `&mut lease` is an sqlx executor.
pub struct Lease<E: Engine> {
    /// `None` once it was given back.
    checkout: Option<Checkout<E>>,
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
    pub(super) fn new(checkout: Checkout<E>) -> Self {
        let (_, slot) = &checkout;
        Self {
            limit: E::client_timeout(&slot.pool.settings.target()),
            caller: slot.caller,
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

    /// Runs a statement that begins or ends a transaction. If it is cancelled, the connection is closed.
    async fn control(&mut self, statement: &'static str) -> Result<(), Error> {
        let limit = self.limit;
        let connection = self.start(Progress::Unusable(Discard::Unfinished), statement)?;
        let done = within(limit, E::executor(connection).execute(statement)).await;
        self.end(done).map(drop)
    }

    /// Records that a statement begins, and returns the connection for it.
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
        if RequestContext::time_left().is_some_and(|left| left.is_zero()) {
            return Err(statement_timeout());
        }
        let is_usable = !matches!(self.progress, Progress::Unusable(_));
        let Some((connection, _)) = self.checkout.as_mut().filter(|_| is_usable) else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        self.progress = progress;
        self.span = span_of::<E>(sql, self.caller);
        Ok(&mut connection.sqlx)
    }

    /// Records the result of the statement.
    pub(super) fn end<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.progress = Progress::Done;
        let span = std::mem::replace(&mut self.span, Span::none());
        if let Err(error) = &result {
            span.record("error", &*errors::code(error));
            if E::is_fatal(error) {
                self.progress = Progress::Unusable(Discard::Broken);
            }
            let is_open = self.transaction == TransactionState::Open;
            if matches!(error, Error::Database(_)) && (is_open || E::MAY_LEAVE_TRANSACTION_OPEN) {
                self.transaction = TransactionState::Aborted;
            }
        }
        result
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
        lease.control(E::BEGIN).await?;
        lease.transaction = TransactionState::Open;
        Ok(Self(lease))
    }

    /// Commits the transaction, or fails and rolls it back if a statement has failed. If the connection breaks
    /// meanwhile, the outcome is unknown.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.0.control("COMMIT").await?;
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

/// For idempotency keys.
#[cfg(any(test, feature = "idempotency"))]
impl<E: Engine> Transaction<E> {
    pub(crate) async fn set_savepoint(&mut self) -> Result<(), Error> {
        let savepoint = self.0.execute("SAVEPOINT attempt");
        savepoint.await.map(drop)
    }

    /// Rolls back to the savepoint, also after a failed statement.
    pub(crate) async fn rollback_to_savepoint(&mut self) -> Result<(), Error> {
        if self.transaction == TransactionState::Aborted && self.progress == Progress::Done {
            self.transaction = TransactionState::Open;
        }
        self.control("ROLLBACK TO SAVEPOINT attempt").await
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
        drop(self.give_back());
    }
}

/// Ends what runs on the connection, rolls back and returns the connection to the pool, or closes it. The slot is
/// free only afterwards: SQLite may have only one connection that writes.
async fn clean_up<E: Engine>(
    mut connection: Connection<E>,
    slot: Slot<E>,
    progress: Progress,
    transaction: TransactionState,
) {
    let pool = &slot.pool;
    let is_running = progress != Progress::Done;
    connection.interrupt.store(is_running, Ordering::Relaxed);
    let reset = async {
        if is_running {
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
    };
    let reason = if let Progress::Unusable(reason) = progress {
        drop(reset);
        reason
    } else {
        match timeout(pool.settings.ping_timeout(), reset).await {
            Ok(Ok(())) => return pool.put_back(connection),
            Ok(Err(_)) => Discard::Broken,
            Err(_elapsed) => Discard::Unfinished,
        }
    };
    pool.discard(connection, reason).await;
}

impl<E: Engine> fmt::Debug for Lease<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.caller).finish()
    }
}

/// The span of a statement, if the request is sampled. It never has the text, which may contain values.
fn span_of<E: Engine>(sql: &str, caller: Caller) -> Span {
    if sql.is_empty() || Trace::current_sampled().is_none() {
        return Span::none();
    }
    let (operation, table) = operation_and_table(sql);
    // No filter but `off` disables this level.
    tracing::error_span!(
        span::STATEMENT,
        system = E::SYSTEM,
        operation,
        summary = format!("{operation} {table}").trim_end(),
        file = caller.file(),
        line = caller.line(),
        error = Empty,
    )
}

fn operation_and_table(sql: &str) -> (String, &str) {
    // From the first literal, quoted name or comment on, a word may be a value.
    let plain = sql.split(['\'', '"', '`', '[', '$', '-', '/']).next();
    let mut words = plain.unwrap_or_default().split_whitespace();
    let operation = words.next().unwrap_or("OTHER").to_ascii_uppercase();
    let precedes_table = |word: &str| {
        let mut keywords = ["FROM", "INTO", "TABLE"].into_iter();
        keywords.any(|keyword| keyword.eq_ignore_ascii_case(word))
    };
    let table = if operation == "UPDATE" || words.any(precedes_table) {
        words.next().unwrap_or_default()
    } else {
        ""
    };
    let end = table.find(|c: char| !(c.is_alphanumeric() || "_.".contains(c)));
    let name = &table[..end.unwrap_or(table.len())];
    let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    (operation, if is_name { name } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_names_operation_and_table_and_no_value() {
        for (sql, operation, table) in [
            ("SELECT id FROM a WHERE id = $1", "SELECT", "a"),
            ("INSERT INTO a(url)\n SELECT $1", "INSERT", "a"),
            ("  update public.a SET url = $1", "UPDATE", "public.a"),
            ("SELECT count(*) FROM (SELECT 1)", "SELECT", ""),
            ("SELECT 1", "SELECT", ""),
            ("", "OTHER", ""),
            ("-- canary\nSELECT 1", "OTHER", ""),
            ("SELECT 'x FROM canary'", "SELECT", ""),
            ("SELECT id FROM a WHERE url = 'canary'", "SELECT", "a"),
            ("SELECT \"a FROM canary\" FROM b", "SELECT", ""),
            ("SELECT $$ FROM canary $$", "SELECT", ""),
            ("SELECT 1 /* FROM canary */", "SELECT", ""),
            ("SELECT 1 FROM 17", "SELECT", ""),
        ] {
            let found = operation_and_table(sql);
            assert_eq!(found, (operation.to_owned(), table), "{sql}");
        }
    }
}
