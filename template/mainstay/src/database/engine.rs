//! The differences between SQLite and Postgres. The rest of the module is the same for both.

use std::time::Duration;

use sqlx::migrate::Migrate;
use sqlx::{ConnectOptions, Connection, Executor, IntoArguments};

use super::error_kind::ErrorRules;

/// A database engine: `sqlx::Sqlite` or `sqlx::Postgres`, by the cargo feature of that name.
///
/// A service names its engine once: `type Database = mainstay::Database<sqlx::Sqlite>`. The trait is sealed,
/// and its hidden items are private to this crate.
pub trait Engine:
    sqlx::Database<
        Connection: Connection<Options: ConnectOptions + Clone> + Migrate,
        Arguments: IntoArguments<Self>,
        Statement: Clone,
    > + private::Sealed
{
    /// What a URL must be, in words that follow "expected".
    #[doc(hidden)]
    const EXPECTED_URL: &'static str;
    /// What this engine is called in OpenTelemetry's conventions.
    #[doc(hidden)]
    const SYSTEM: &'static str;
    /// The names of the pool that reads and of the one that writes; one name if that is the same pool.
    #[doc(hidden)]
    const POOLS: [&'static str; 2];
    /// Begins a transaction that may write.
    #[doc(hidden)]
    const BEGIN: &'static str;
    /// Whether several statements in one string may fail between their `BEGIN` and their `COMMIT`.
    #[doc(hidden)]
    const MAY_LEAVE_TRANSACTION_OPEN: bool;
    /// How the errors of this engine are read.
    #[doc(hidden)]
    const ERRORS: ErrorRules;

    /// Where the data is, as it was found when it was opened.
    #[doc(hidden)]
    type Storage: std::fmt::Debug + Clone + Send + Sync + 'static;
    /// Ends a statement that is running.
    #[doc(hidden)]
    type Interrupt: std::fmt::Debug + Clone + Send + Sync + 'static;
    /// Held while this process migrates.
    #[doc(hidden)]
    type Lock: Send;

    #[doc(hidden)]
    fn executor(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self>;

    /// The URL without its secrets; `None` if it cannot be used.
    #[doc(hidden)]
    fn redacted(url: &str) -> Option<String>;
    /// Whether the database exists, as far as that is known without a connection.
    #[doc(hidden)]
    fn exists(url: &str) -> bool;
    /// The pool that reads and the one that writes.
    #[doc(hidden)]
    fn pools(target: &Target<'_>) -> Result<Pools<Options<Self>>, sqlx::Error>;
    /// After how long this process gives up a statement.
    #[doc(hidden)]
    fn client_timeout(statement: Duration, ping: Duration) -> Duration;
    /// Makes a file that is missing, and looks for what else must be there before a connection.
    #[doc(hidden)]
    fn open_storage(target: &Target<'_>) -> Result<Self::Storage, sqlx::Error>;
    /// Whether the storage is what it was when it was opened.
    #[doc(hidden)]
    fn check_storage(
        storage: &Self::Storage,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Logs what a close has left beside the storage.
    #[doc(hidden)]
    fn warn_of_leftovers(storage: &Self::Storage);

    #[doc(hidden)]
    fn version<L>(lease: &mut L) -> impl Future<Output = Result<String, sqlx::Error>> + Send
    where
        L: Send,
        for<'c> &'c mut L: Executor<'c, Database = Self>;
    /// Refuses a version that cannot be used.
    #[doc(hidden)]
    fn check_version(version: &str) -> Result<(), sqlx::Error>;
    /// One round trip that reads.
    #[doc(hidden)]
    fn probe<L>(lease: &mut L) -> impl Future<Output = Result<(), sqlx::Error>> + Send
    where
        L: Send,
        for<'c> &'c mut L: Executor<'c, Database = Self>;

    #[doc(hidden)]
    fn install_interrupt(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Self::Interrupt, sqlx::Error>> + Send;
    #[doc(hidden)]
    fn interrupt(interrupt: &Self::Interrupt);
    #[doc(hidden)]
    fn clear_interrupt(interrupt: &Self::Interrupt);

    /// The migrations that were begun on this database.
    #[doc(hidden)]
    fn applied(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Vec<Applied>, sqlx::Error>> + Send;
    /// Lifts the limits of statements for migrations. `concurrent`: one of them runs outside of a
    /// transaction.
    #[doc(hidden)]
    fn lift_limits(
        connection: &mut Self::Connection,
        concurrent: bool,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// The lock under which this process migrates; `None` while another one has it.
    #[doc(hidden)]
    fn try_lock(
        connection: &mut Self::Connection,
        url: &str,
    ) -> impl Future<Output = Result<Option<Self::Lock>, sqlx::Error>> + Send;

    /// A lock of this name until the transaction ends; false if another transaction has it.
    #[doc(hidden)]
    fn try_claim<L>(
        lease: &mut L,
        name: &str,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send
    where
        L: Send,
        for<'c> &'c mut L: Executor<'c, Database = Self>;

    /// The clause `FOR UPDATE OF table SKIP LOCKED` at the end of a `SELECT` that claims rows, on Postgres.
    /// Empty on SQLite, where one transaction writes at a time.
    #[must_use]
    fn skip_locked(table: &str) -> String;
}

/// Where a database is, and the limits that its connections are told of.
#[derive(Debug)]
#[doc(hidden)]
#[allow(
    dead_code,
    reason = "each engine reads the limits that it can be told of"
)]
pub struct Target<'a> {
    pub(super) url: &'a str,
    pub(super) acquire_timeout: Duration,
    pub(super) statement_timeout: Duration,
}

/// How an engine wants to be connected to.
pub(super) type Options<E> = <<E as sqlx::Database>::Connection as Connection>::Options;

/// The pools of an engine, as the options of their connections.
#[derive(Debug)]
#[doc(hidden)]
pub enum Pools<O> {
    /// One for everything.
    One(O),
    /// Many connections that read, and the one that writes.
    ReadersAndWriter { readers: O, writer: O },
}

/// A migration that was begun on a database, and whether it was completed.
#[derive(Debug, sqlx::FromRow)]
#[doc(hidden)]
pub struct Applied {
    pub(super) version: i64,
    pub(super) checksum: Vec<u8>,
    pub(super) success: bool,
}

pub(super) mod private {
    /// Keeps [`Engine`](super::Engine) to the engines of this crate.
    pub trait Sealed {}
}
