//! The differences between SQLite and Postgres. The rest of the module is the same for both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::migrate::Migrate;
use sqlx::{ConnectOptions, Connection, Error, Executor, IntoArguments};

/// A database engine: `sqlx::Sqlite` or `sqlx::Postgres`, by the cargo feature of that name.
///
/// A service names its engine once: `type Database = mainstay::Database<sqlx::Sqlite>`. The trait is sealed.
pub trait Engine: Driver {
    /// The clause `FOR UPDATE OF table SKIP LOCKED` at the end of a `SELECT` that claims rows, on Postgres.
    /// Empty on SQLite, where one transaction writes at a time.
    #[must_use]
    fn skip_locked(table: &str) -> String;
}

/// What this crate needs of an engine. The defaults are for an engine that has no such thing.
pub trait Driver:
    sqlx::Database<
        Connection: Connection<Options: ConnectOptions + Clone> + Migrate,
        Arguments: IntoArguments<Self>,
        Statement: Clone,
    >
{
    /// A valid URL, in words that follow "expected".
    const EXPECTED_URL: &'static str;
    /// The name of the engine in OpenTelemetry's conventions.
    const SYSTEM: &'static str;
    /// The names of the pool that reads and of the one that writes; one name if it is the same pool.
    const POOLS: [&'static str; 2];
    /// Begins a transaction that may write.
    const BEGIN: &'static str;
    /// Whether several statements in one string may fail between their `BEGIN` and their `COMMIT`.
    const MAY_LEAVE_TRANSACTION_OPEN: bool;

    /// The files of the database, as they were when it was opened.
    type Storage: std::fmt::Debug + Send + Sync + 'static;
    /// Held while this process migrates.
    type MigrationLock: Send;

    fn executor(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self>;

    /// The URL without its secrets; `None` if it cannot be used.
    fn redacted(url: &str) -> Option<String>;

    /// The options of connections that read, and of those that write.
    fn options(target: &Target<'_>) -> Result<[Options<Self>; 2], Error>;

    /// The time after which this process gives up a statement.
    fn client_timeout(statement: Duration, ping: Duration) -> Duration;

    /// Whether the database exists, as far as that is known without a connection.
    fn exists(_url: &str) -> bool {
        true
    }

    /// Creates a missing file, and checks the files that a connection needs.
    fn open_storage(target: &Target<'_>) -> Result<Self::Storage, Error>;

    /// Fails if the files are no longer those that were opened.
    fn check_storage(_: &Self::Storage) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Logs files that a close has left behind.
    fn warn_of_leftovers(_: &Self::Storage) {}

    /// Makes one round trip that reads.
    fn probe(connection: &mut Self::Connection) -> BoxFuture<'_, Result<(), Error>>;

    /// Makes the interrupt end a running statement, if statements run in this process.
    fn install_interrupt<'a>(
        _: &'a mut Self::Connection,
        _: &'a Interrupt,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// The migrations that began on this database.
    fn applied(connection: &mut Self::Connection) -> BoxFuture<'_, Result<Vec<Applied>, Error>>;

    /// Lifts the time limits of statements for migrations. `concurrent`: one of them runs outside of a
    /// transaction.
    fn lift_limits(
        _: &mut Self::Connection,
        _concurrent: bool,
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// The lock under which a process migrates; `None` while another process holds it.
    fn try_lock<'a>(
        connection: &'a mut Self::Connection,
        url: &'a str,
    ) -> BoxFuture<'a, Result<Option<Self::MigrationLock>, Error>>;

    /// Takes the lock of this name until the transaction ends; false if another transaction holds it.
    fn try_claim(_: &mut Self::Connection, _name: String) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async { Ok(true) })
    }

    /// Whether a connection may succeed later.
    fn is_transient(error: &Error) -> bool;

    /// Whether the connection is useless after this error.
    fn is_fatal(error: &Error) -> bool;

    /// Whether a `ROLLBACK` failed because there was no transaction.
    fn is_no_transaction(_: &Error) -> bool {
        false
    }
}

/// The location of a database, and the limits that its connections are given.
#[derive(Debug)]
#[allow(dead_code, reason = "each engine reads the limits that it supports")]
pub struct Target<'a> {
    pub(super) url: &'a str,
    pub(super) acquire_timeout: Duration,
    pub(super) statement_timeout: Duration,
}

/// The options of a connection.
pub(super) type Options<E> = <<E as sqlx::Database>::Connection as Connection>::Options;

/// A migration that began on a database, and whether it was completed.
#[derive(Debug, sqlx::FromRow)]
pub struct Applied {
    pub(super) version: i64,
    pub(super) checksum: Vec<u8>,
    pub(super) success: bool,
}

/// A flag that ends the running statement of a connection.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
