//! SQLite, in a file.

#![expect(
    clippy::disallowed_methods,
    reason = "files are created and locked at the start"
)]

use std::borrow::Cow;
use std::fs::{File, TryLockError, create_dir_all};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteError, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{Error, Executor, Sqlite};

use super::engine::{Driver, Engine, Flag, Limits, PoolOptions};
use super::errors::{ErrorKind, Report};

impl Engine for Sqlite {
    fn skip_locked(_table: &str) -> String {
        String::new()
    }
}

impl Driver for Sqlite {
    const EXPECTED_URL: &'static str =
        "the SQLite URL of a file that can be written, such as `sqlite:data/service.db`";
    const SYSTEM: &'static str = "sqlite";
    // Takes the write lock before the first statement, so that no later statement fails as busy.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const MAY_LEAVE_TRANSACTION_OPEN: bool = true;
    // Reads the schema from the file instead of the cache.
    const PROBE: &'static str = "PRAGMA shrink_memory; SELECT 1 FROM sqlite_schema LIMIT 1";
    const FIND_MIGRATIONS: &'static str =
        "SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    const LIFT_LIMITS: [&'static str; 2] = ["", ""];

    type MigrationLock = File;

    fn executor(connection: &mut SqliteConnection) -> impl Executor<'_, Database = Self> {
        connection
    }

    /// A file has no password. Each connection to a database in memory would see another one.
    fn redacted(url: &str) -> Option<String> {
        let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let is_unusable = |(key, value): (Cow<'_, str>, Cow<'_, str>)| match &*key {
            "immutable" => !matches!(&*value, "false" | "0"),
            _ => value == "memory" || (key == "mode" && value == "ro"),
        };
        let is_file = !path.is_empty() && !path.contains(":memory:") && !pairs.any(is_unusable);
        (is_file && SqliteConnectOptions::from_str(url).is_ok()).then(|| url.to_owned())
    }

    fn pools(url: &str, limits: &Limits) -> Result<Vec<PoolOptions<Self>>, Error> {
        let writer = SqliteConnectOptions::from_str(url)?
            .create_if_missing(false)
            // Readers and the writer do not wait for each other.
            .journal_mode(SqliteJournalMode::Wal)
            // A committed transaction is on the disk, also after a power cut. `Normal` would be faster, and
            // lose the last ones.
            .synchronous(SqliteSynchronous::Full)
            // For writers of other processes, and of `sqlx_pool`: those of this pool wait in its queue.
            .busy_timeout(limits.acquire)
            .foreign_keys(true);
        let readers = PoolOptions {
            name: "readers",
            connections: limits.connections,
            connect: writer.clone().pragma("query_only", "ON"),
        };
        let writer = PoolOptions {
            name: "writer",
            connections: 1,
            connect: writer,
        };
        Ok(vec![readers, writer])
    }

    fn file(url: &str) -> Option<PathBuf> {
        let options = SqliteConnectOptions::from_str(url).ok()?;
        Some(options.get_filename().to_owned())
    }

    /// Creates the file here and only here: a file that disappears later is an error, and is not replaced by an
    /// empty one.
    fn prepare_files(url: &str) -> Result<(), Error> {
        let options = SqliteConnectOptions::from_str(url)?;
        let file = options.get_filename();
        let created = file.parent().map_or(Ok(()), create_dir_all);
        match created.and_then(|()| File::create_new(file)) {
            Err(error) if !file.exists() => {
                let problem = format!("the file {} cannot be created: {error}", file.display());
                Err(Error::Configuration(problem.into()))
            }
            Ok(_) | Err(_) => Ok(()),
        }
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

    /// Locks the directory of the database: a lock file would stay behind, and the database file has locks of
    /// SQLite.
    fn try_lock<'a>(
        _: &'a mut SqliteConnection,
        url: &'a str,
    ) -> BoxFuture<'a, Result<Option<File>, Error>> {
        Box::pin(async {
            let options = SqliteConnectOptions::from_str(url)?;
            let directory = options.get_filename().parent();
            let directory = directory.filter(|path| *path != Path::new(""));
            let directory = File::open(directory.unwrap_or(Path::new(".")))?;
            match directory.try_lock() {
                Ok(()) => Ok(Some(directory)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error.into()),
            }
        })
    }

    /// Another process may be writing.
    fn is_transient(error: &Error) -> bool {
        match error {
            Error::Database(error) => matches!(code(&**error) & 0xff, BUSY | LOCKED),
            Error::PoolTimedOut => true,
            _ => false,
        }
    }

    fn is_fatal(error: &Error) -> bool {
        matches!(error, Error::Io(_) | Error::WorkerCrashed)
    }
}

// The result codes of SQLite.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READ_ONLY: i32 = 8;
const INTERRUPTED: i32 = 9;
const IO: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANNOT_OPEN: i32 = 14;
const TOO_BIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const MISMATCH: i32 = 20;
const NOT_A_DATABASE: i32 = 26;
/// An extended code: no room for the shared memory beside the file.
const NO_ROOM_FOR_SHARED_MEMORY: i32 = 0x130a;

/// The extended result code.
fn code(error: &dyn DatabaseError) -> i32 {
    let code = error.code().and_then(|code| code.parse().ok());
    code.unwrap_or(0)
}

pub(super) fn report(error: &SqliteError) -> Report {
    let (internal, unavailable) = (ErrorKind::Internal, ErrorKind::Unavailable);
    let invalid = ErrorKind::Invalid { field: None };
    let code = code(error);
    let (kind, about) = match code & 0xff {
        _ if code == NO_ROOM_FOR_SHARED_MEMORY => (unavailable, "there must be room on the disk"),
        FULL => (unavailable, "there must be room on the disk"),
        BUSY | LOCKED => (unavailable, "another process has locked the database"),
        INTERRUPTED => (ErrorKind::Timeout, "interrupted"),
        // SQLite reports `ON DELETE RESTRICT` as a trigger.
        CONSTRAINT if error.message().starts_with("FOREIGN KEY") => {
            (ErrorKind::Reference { field: None }, "foreign key")
        }
        CONSTRAINT => (invalid, "constraint"),
        MISMATCH | TOO_BIG => (invalid, "wrong type or size"),
        CORRUPT | NOT_A_DATABASE => (internal, "the file is damaged or not a SQLite database"),
        READ_ONLY | CANNOT_OPEN => (
            internal,
            "the file and its directory must be writable for this user",
        ),
        IO => (internal, "disk error"),
        1 => (internal, "not valid for this schema"),
        _ => (internal, "result code of SQLite"),
    };
    let field = field(error.message());
    let about = match &field {
        Some(field) => format!("{about}, column {field}"),
        None => about.to_owned(),
    };
    Report { kind, field, about }
}

/// The column in "UNIQUE constraint failed: targets.url", or in the name of a check: `targets_url_check`.
fn field(message: &str) -> Option<String> {
    let (_, about) = message.split_once("constraint failed: ")?;
    let first = about.split(',').next()?.trim();
    let column = match first.split_once('.') {
        Some((_table, column)) => column,
        None => first.strip_suffix("_check")?.split_once('_')?.1,
    };
    // A check without a name is reported with its text.
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let is_column = column.chars().all(is_name) && !column.starts_with(|c: char| c.is_numeric());
    is_column.then(|| column.to_owned())
}

#[cfg(test)]
mod tests;
