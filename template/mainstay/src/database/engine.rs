//! The differences between SQLite and Postgres. The rest of the module is the same for both.

use std::path::PathBuf;
use std::sync::{Arc, atomic::AtomicBool};

use futures_util::future::BoxFuture;
use sqlx::{Connection, Error, Executor, migrate::Migrate};

use super::settings::Settings;

/// A database engine: `sqlx::Sqlite` or `sqlx::Postgres`, by the cargo feature of that name.
///
/// A service names its engine once: `type Database = mainstay::Database<sqlx::Sqlite>`. Services may call
/// [`skip_locked`](Self::skip_locked). Only this crate uses the other items.
pub trait Engine: sqlx::Database<Connection: Migrate> {
    /// The prefix of the URLs of its databases.
    const SCHEME: &'static str;
    /// The statement that begins a transaction.
    const BEGIN: &'static str;
    /// Whether a script that fails can leave open the transaction that it began.
    const MAY_LEAVE_TRANSACTION_OPEN: bool;
    /// A query that reads from the database, and returns at least one row.
    const PROBE: &'static str;
    /// A query that returns a row if the database has sqlx's table of migrations.
    const FIND_MIGRATIONS: &'static str;
    /// A query that tries to take the migration lock. It returns no row if another process holds the lock.
    const LOCK_MIGRATIONS: &'static str;
    /// Statements that lift a connection's time limits: for migrations in transactions, and for those without.
    const LIFT_LIMITS: [&'static str; 2];

    /// The end of a `SELECT` that claims rows: `FOR UPDATE OF table SKIP LOCKED` on Postgres. Empty on SQLite,
    /// where only one transaction writes at a time.
    #[must_use]
    fn skip_locked(table: &str) -> String;

    /// The connection as an executor, for generic code: the bounds of this trait do not say that it is one.
    fn executor(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self>;

    /// The pools to open: the first one is for reads, and the last one for writes.
    fn pools(settings: &Settings) -> Result<Pools<Self>, Error>;

    /// The path of the database file, if the engine stores a database in one.
    #[must_use]
    fn file(_url: &str) -> Option<PathBuf> {
        None
    }

    /// Lets each flag interrupt a running statement. Only for an engine that runs statements in this process.
    fn install_interrupts(
        _: &mut Self::Connection,
        _flags: [Flag; 2],
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether the connection must be closed after this error.
    fn is_fatal(error: &Error) -> bool;
}

pub(super) type Options<E> = <<E as sqlx::Database>::Connection as Connection>::Options;

/// For each pool: its name, its maximum number of connections, and their options.
pub(super) type Pools<E> = Vec<(&'static str, u32, Options<E>)>;

pub(super) type Flag = Arc<AtomicBool>;

/// What a failed statement means for its caller, and the column that the error is about, if the database names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such row.
    NotFound,
    /// No connection was free in time, or the database does not answer.
    Unavailable,
    /// The statement took longer than `database.statement_timeout`.
    Timeout,
    /// Another row has this unique value.
    AlreadyExists(Option<String>),
    /// The row refers to a row that does not exist, or another row refers to it.
    Reference(Option<String>),
    /// The value is not allowed.
    Invalid(Option<String>),
    /// A mistake in the service, such as SQL that is not valid.
    Internal,
}

/// An engine's description of an error of its database.
pub(super) struct Report {
    /// The kind of an error that sqlx does not classify as a violation of a constraint.
    pub(super) kind: ErrorKind,
    pub(super) column: Option<String>,
    /// The part of the schema that the error is about. It has no values, which may be secrets.
    pub(super) about: String,
}
