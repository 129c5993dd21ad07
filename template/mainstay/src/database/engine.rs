//! The differences between SQLite and Postgres. The rest of the module is the same for both.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    >
{
    /// A valid URL, in words that follow "expected".
    const EXPECTED_URL: &'static str;
    /// The name of the engine in OpenTelemetry's conventions.
    const SYSTEM: &'static str;
    /// Begins a transaction that may write.
    const BEGIN: &'static str;
    /// Whether several statements in one string may fail between their `BEGIN` and their `COMMIT`.
    const MAY_LEAVE_TRANSACTION_OPEN: bool;
    /// Reads from the database, and returns at least one row.
    const PROBE: &'static str;
    /// Returns a row if the database has sqlx's table of migrations.
    const FIND_MIGRATIONS: &'static str;
    /// Lifts the limits of a connection that migrates: without, and with a migration that runs outside of a
    /// transaction.
    const LIFT_LIMITS: [&'static str; 2];

    /// Held while this process migrates.
    type MigrationLock: Send;

    fn executor(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self>;

    /// The URL without its secrets; `None` if it cannot be used.
    fn redacted(url: &str) -> Option<String>;

    /// The pools: the first one reads, and the last one writes.
    fn pools(url: &str, limits: &Limits) -> Result<Vec<PoolOptions<Self>>, Error>;

    /// The time after which this process gives up a statement.
    fn client_timeout(limits: &Limits) -> Duration {
        limits.statement
    }

    /// The file of the database.
    fn file(_url: &str) -> Option<PathBuf> {
        None
    }

    /// Creates a missing file, and checks the files that a connection needs.
    fn prepare_files(url: &str) -> Result<(), Error>;

    /// Makes each of the flags end a running statement, if statements run in this process.
    fn install_interrupts(
        _: &mut Self::Connection,
        _flags: [Flag; 2],
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
}

/// The limits of a database, from its settings.
#[derive(Debug, Clone)]
pub struct Limits {
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

/// The options of a pool.
#[derive(Debug)]
pub struct PoolOptions<E: Driver> {
    pub(super) name: &'static str,
    pub(super) connections: u32,
    pub(super) connect: Options<E>,
}

/// The options of a connection.
pub(super) type Options<E> = <<E as sqlx::Database>::Connection as Connection>::Options;

pub(super) type Flag = Arc<AtomicBool>;
