//! SQLite, in a file.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteError, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{Error, Executor, Sqlite};

use super::engine::{Engine, ErrorKind, Flag, Pools, Report};
use super::settings::Settings;

impl Engine for Sqlite {
    const SCHEME: &'static str = "sqlite:";
    // Takes the write lock before the first statement, so that no later statement fails as busy.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const MAY_LEAVE_TRANSACTION_OPEN: bool = true;
    // Reads the schema from the file instead of the cache.
    const PROBE: &'static str = "PRAGMA shrink_memory; SELECT 1 FROM sqlite_schema LIMIT 1";
    const FIND_MIGRATIONS: &'static str =
        "SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    // The lock is on a file.
    const LOCK_MIGRATIONS: &'static str = "SELECT 1";
    const LIFT_LIMITS: [&'static str; 2] = ["", ""];

    fn skip_locked(_table: &str) -> String {
        String::new()
    }

    fn executor(connection: &mut SqliteConnection) -> impl Executor<'_, Database = Self> {
        connection
    }

    fn pools(settings: &Settings) -> Result<Pools<Self>, Error> {
        let writer = SqliteConnectOptions::from_str(settings.url.expose())?
            .create_if_missing(false)
            // Readers and the writer do not wait for each other.
            .journal_mode(SqliteJournalMode::Wal)
            // A committed transaction is on the disk, also after a power cut. `Normal` would be faster, and
            // lose the last ones.
            .synchronous(SqliteSynchronous::Full)
            // For writers of other processes, and of `sqlx_pool`: those of this pool wait in its queue.
            .busy_timeout(settings.acquire_timeout)
            .foreign_keys(true);
        let reader = writer.clone().pragma("query_only", "ON");
        let readers = ("readers", settings.max_connections, reader);
        Ok(vec![readers, ("writer", 1, writer)])
    }

    fn file(url: &str) -> Option<PathBuf> {
        let options = SqliteConnectOptions::from_str(url).ok()?;
        Some(options.get_filename().to_owned())
    }

    fn install_interrupts(
        connection: &mut SqliteConnection,
        flags: [Flag; 2],
    ) -> BoxFuture<'_, Result<(), Error>> {
        /// The steps of a statement between two looks at the flags: well below a millisecond.
        const STEPS: i32 = 10_000;
        Box::pin(async move {
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(STEPS, move || {
                !flags.iter().any(|flag| flag.load(Ordering::Relaxed))
            });
            Ok(())
        })
    }

    fn is_fatal(error: &Error) -> bool {
        matches!(error, Error::Io(_) | Error::WorkerCrashed)
    }
}

pub(super) fn report(error: &SqliteError) -> Report {
    /// No room for the shared memory beside the file.
    const NO_MEMORY: i32 = 0x130a;
    let extended = error.code().and_then(|code| code.parse().ok());
    let code: i32 = extended.unwrap_or(0);
    let (kind, about) = match (code & 0xff, code) {
        (5 | 6, _) => (ErrorKind::Unavailable, "locked by another process"),
        (13, _) | (_, NO_MEMORY) => (ErrorKind::Unavailable, "there must be room on the disk"),
        (9, _) => (ErrorKind::Timeout, "interrupted"),
        // SQLite reports `ON DELETE RESTRICT` as a trigger.
        (19, _) if error.message().starts_with("FOREIGN KEY") => {
            (ErrorKind::Reference(None), "foreign key")
        }
        (18..=20, _) => (ErrorKind::Invalid(None), "value"),
        (8 | 14, _) => (ErrorKind::Internal, "file or directory is not writable"),
        (11 | 26, _) => (ErrorKind::Internal, "damaged, or not a SQLite database"),
        _ => (ErrorKind::Internal, "result code of SQLite"),
    };
    Report {
        kind,
        column: column(error.message()),
        about: about.to_owned(),
    }
}

/// The column in "UNIQUE constraint failed: targets.url".
fn column(message: &str) -> Option<String> {
    let (kind, about) = message.split_once(" constraint failed: ")?;
    let (_table, column) = about.split(',').next()?.split_once('.')?;
    // A check is reported with its name or its text.
    (kind != "CHECK").then(|| column.trim().to_owned())
}

#[cfg(test)]
mod tests;
