//! The differences between SQLite and Postgres. The rest of the module is the same for both.

use std::path::PathBuf;
use std::sync::{Arc, atomic::AtomicBool};

use futures_util::future::BoxFuture;
use sqlx::{Connection, Error, Executor, migrate::Migrate};

use super::settings::Settings;

/// A database engine: `sqlx::Sqlite` or `sqlx::Postgres`, by the cargo feature of that name.
///
/// A service names its engine once: `type Database = mainstay::Database<sqlx::Sqlite>`. All but
/// [`skip_locked`](Self::skip_locked) is for this crate.
pub trait Engine: sqlx::Database<Connection: Migrate> {
    /// The beginning of its URLs.
    const SCHEME: &'static str;
    /// Begins a transaction.
    const BEGIN: &'static str;
    /// Whether a failed script may leave a transaction open that it began.
    const MAY_LEAVE_TRANSACTION_OPEN: bool;
    /// Reads from the database, and returns at least one row.
    const PROBE: &'static str;
    /// Returns a row if the database has sqlx's table of migrations.
    const FIND_MIGRATIONS: &'static str;
    /// Takes the lock of a process that migrates, and returns a row unless another process holds it.
    const LOCK_MIGRATIONS: &'static str;
    /// Lifts the limits of a connection that migrates in transactions, and of one that migrates without.
    const LIFT_LIMITS: [&'static str; 2];

    /// The clause `FOR UPDATE OF table SKIP LOCKED` at the end of a `SELECT` that claims rows, on Postgres.
    /// Empty on SQLite, where one transaction writes at a time.
    #[must_use]
    fn skip_locked(table: &str) -> String;

    /// The connection as an executor: generic code does not know that it is one.
    fn executor(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self>;

    /// The pools: the first one reads, and the last one writes.
    fn pools(settings: &Settings) -> Result<Pools<Self>, Error>;

    /// The file of the database, if it is one.
    #[must_use]
    fn file(_url: &str) -> Option<PathBuf> {
        None
    }

    /// Makes each of the flags end a running statement, if statements run in this process.
    fn install_interrupts(
        _: &mut Self::Connection,
        _flags: [Flag; 2],
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether the connection is useless after this error.
    fn is_fatal(error: &Error) -> bool;
}

pub(super) type Options<E> = <<E as sqlx::Database>::Connection as Connection>::Options;

/// The names of pools, the most connections of each, and their options.
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
    /// There is a row with this unique value.
    AlreadyExists(Option<String>),
    /// The row refers to one that does not exist, or is referred to.
    Reference(Option<String>),
    /// The value is not allowed.
    Invalid(Option<String>),
    /// A mistake in the service, such as SQL that is not valid.
    Internal,
}

/// What an engine knows about an error that it reported.
pub(super) struct Report {
    /// The meaning of an error, unless it is a constraint of the standard.
    pub(super) kind: ErrorKind,
    pub(super) column: Option<String>,
    /// What the error is about, by names of the schema, without values.
    pub(super) about: String,
}
