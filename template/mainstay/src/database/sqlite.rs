//! SQLite, in a file.

#![expect(
    clippy::disallowed_methods,
    reason = "files are created at the start, and looked at at the end or on a blocking thread"
)]

mod file;

use std::borrow::Cow;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteError, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{Error, Executor, Sqlite};

use super::engine::{Applied, Driver, Engine, Interrupt, Options, Target};
use super::error_kind::{ErrorKind, ErrorReader};
use file::Storage;

impl Engine for Sqlite {
    fn skip_locked(_table: &str) -> String {
        String::new()
    }
}

impl Driver for Sqlite {
    const EXPECTED_URL: &'static str =
        "the SQLite URL of a file that can be written, such as `sqlite:data/service.db`";
    const SYSTEM: &'static str = "sqlite";
    const POOLS: [&'static str; 2] = ["readers", "writer"];
    // Takes the write lock before the first statement, so that no later statement fails as busy.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const MAY_LEAVE_TRANSACTION_OPEN: bool = true;

    type Storage = Storage;
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

    fn options(target: &Target<'_>) -> Result<[Options<Self>; 2], Error> {
        let writer = SqliteConnectOptions::from_str(target.url)?
            .create_if_missing(false)
            // Readers and the writer do not wait for each other.
            .journal_mode(SqliteJournalMode::Wal)
            // A committed transaction is on the disk, also after a power cut. `Normal` would be faster, and
            // lose the last ones.
            .synchronous(SqliteSynchronous::Full)
            // For writers of other processes, and of `sqlx_pool`: those of this pool wait in its queue.
            .busy_timeout(target.acquire_timeout)
            .foreign_keys(true);
        Ok([writer.clone().pragma("query_only", "ON"), writer])
    }

    fn client_timeout(statement: Duration, _ping: Duration) -> Duration {
        statement
    }

    fn exists(url: &str) -> bool {
        SqliteConnectOptions::from_str(url).is_ok_and(|options| options.get_filename().exists())
    }

    fn open_storage(target: &Target<'_>) -> Result<Storage, Error> {
        let options = SqliteConnectOptions::from_str(target.url)?;
        create(options.get_filename())?;
        Storage::open(options.get_filename())
    }

    fn check_storage(storage: &Storage) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(storage.check())
    }

    fn warn_of_leftovers(storage: &Storage) {
        storage.warn_of_leftovers();
    }

    fn probe(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(file::probe(connection))
    }

    fn install_interrupt<'a>(
        connection: &'a mut SqliteConnection,
        interrupt: &'a Interrupt,
    ) -> BoxFuture<'a, Result<(), Error>> {
        /// The steps of a statement between two looks at the flag: well below a millisecond.
        const STEPS: i32 = 10_000;
        let interrupt = interrupt.clone();
        Box::pin(async move {
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(STEPS, move || !interrupt.is_set());
            Ok(())
        })
    }

    fn applied(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<Vec<Applied>, Error>> {
        Box::pin(async {
            let is_migrated = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')",
            );
            if !is_migrated.fetch_one(&mut *connection).await? {
                return Ok(Vec::new());
            }
            let query = sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations");
            query.fetch_all(connection).await
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
            Error::Database(error) => is_busy(&**error),
            Error::PoolTimedOut => true,
            _ => false,
        }
    }

    fn is_fatal(error: &Error) -> bool {
        matches!(error, Error::Io(_) | Error::WorkerCrashed)
    }

    fn is_no_transaction(error: &Error) -> bool {
        matches!(error, Error::Database(error) if error.message().contains("no transaction is active"))
    }
}

/// Creates the file here and only here: a file that disappears later is an error, and is not replaced by an
/// empty one.
fn create(file: &Path) -> Result<(), Error> {
    let cannot = |what: &str, path: &Path, error| {
        let path = path.display();
        Error::Configuration(format!("the {what} {path} cannot be created: {error}").into())
    };
    if let Some(directory) = file.parent() {
        let created = std::fs::create_dir_all(directory);
        created.map_err(|error| cannot("directory", directory, error))?;
    }
    match File::create_new(file) {
        Err(error) if !file.exists() => Err(cannot("file", file, error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(super) const ERRORS: ErrorReader = ErrorReader {
    has_reported: |error| error.try_downcast_ref::<SqliteError>().is_some(),
    kind,
    field,
    about,
    advice,
};

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

fn kind(error: &dyn DatabaseError) -> ErrorKind {
    match code(error) {
        _ if is_busy(error) || is_full(error) => ErrorKind::Unavailable,
        INTERRUPTED => ErrorKind::Timeout,
        // SQLite reports `ON DELETE RESTRICT` as a trigger.
        CONSTRAINT if error.message().starts_with("FOREIGN KEY") => {
            ErrorKind::Reference { field: None }
        }
        CONSTRAINT | MISMATCH | TOO_BIG => ErrorKind::Invalid { field: None },
        _ => ErrorKind::Internal,
    }
}

/// The column in "UNIQUE constraint failed: targets.url", or in the name of a check: `targets_url_check`.
fn field(error: &dyn DatabaseError) -> Option<String> {
    let (_, about) = error.message().split_once("constraint failed: ")?;
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

fn about(error: &dyn DatabaseError) -> Vec<String> {
    let meaning = match code(error) {
        1 => "not valid for this schema",
        READ_ONLY => "not writable",
        IO => "disk",
        CORRUPT | NOT_A_DATABASE => "damaged file",
        CANNOT_OPEN => "file cannot be opened",
        _ => "result code of SQLite",
    };
    let column = field(error).map(|column| format!("column {column}"));
    std::iter::once(meaning.to_owned()).chain(column).collect()
}

fn advice(error: &dyn DatabaseError) -> &'static str {
    match code(error) {
        _ if is_full(error) => "; there must be room on the disk",
        NOT_A_DATABASE | CORRUPT => {
            "; the file is damaged or not a SQLite database, and was not changed"
        }
        READ_ONLY | CANNOT_OPEN => "; the file and its directory must be writable for this user",
        _ => "",
    }
}

fn is_busy(error: &dyn DatabaseError) -> bool {
    matches!(code(error), BUSY | LOCKED)
}

/// Whether the disk is full.
fn is_full(error: &dyn DatabaseError) -> bool {
    code(error) == FULL || extended_code(error) == NO_ROOM_FOR_SHARED_MEMORY
}

/// The primary result code.
fn code(error: &dyn DatabaseError) -> i32 {
    extended_code(error) & 0xff
}

fn extended_code(error: &dyn DatabaseError) -> i32 {
    let code = error.code().and_then(|code| code.parse().ok());
    code.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::log_safe_message;
    use crate::database::on_sqlite::suite::Fixture;

    #[tokio::test]
    async fn read_connection_refuses_to_write() {
        let fixture = Fixture::new().await;
        let write = sqlx::query("INSERT INTO things (id, name) VALUES (1, 'first')");
        let error = write.execute(fixture.database.read()).await.unwrap_err();
        assert!(error.to_string().contains("readonly"), "{error}");
        assert_eq!(fixture.count().await, 0);
    }

    #[tokio::test]
    async fn value_of_the_wrong_type_is_invalid() {
        let fixture = Fixture::new().await;
        let query = sqlx::query("INSERT INTO things (id, name) VALUES ($1, 'first')");
        let failed = query.bind("canary").execute(fixture.database.write());
        let error = failed.await.unwrap_err();
        assert_eq!(ErrorKind::of(&error), ErrorKind::Invalid { field: None });
    }

    #[tokio::test]
    async fn log_message_names_the_code_and_its_meaning() {
        let fixture = Fixture::new().await;
        let failed = sqlx::query("SELECT canary FROM things").execute(fixture.database.write());
        let words = log_safe_message(&failed.await.unwrap_err());
        let expected = "the database rejected the statement: 1 (not valid for this schema)";
        assert_eq!(words, expected);
    }

    #[tokio::test]
    async fn close_leaves_no_file_beside_the_database() {
        let fixture = Fixture::new().await;
        fixture.add("first").await.unwrap();
        assert_eq!(fixture.count().await, 1);
        let left = fixture
            .database
            .close(tokio::time::Instant::now() + std::time::Duration::from_secs(10))
            .await;
        assert!(left.is_empty(), "{left:?}");
        let file = fixture.scratch.url().strip_prefix("sqlite:").unwrap();
        let directory = Path::new(file).parent().unwrap();
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn bundled_sqlite_has_no_wal_reset_bug() {
        // Before 3.51.3, SQLite could lose commits.
        let fixture = Fixture::new().await;
        let query = sqlx::query_scalar("SELECT sqlite_version()");
        let version: String = query.fetch_one(fixture.database.read()).await.unwrap();
        let parts = version.split('.').map(|part| part.parse().unwrap());
        assert!(parts.collect::<Vec<u32>>() >= vec![3, 51, 3], "{version}");
    }

    #[test]
    fn url_must_name_a_writable_file() {
        for url in [
            "sqlite:a.db",
            "sqlite://a.db",
            "sqlite:///var/lib/a.db",
            "sqlite:a.db?mode=rwc",
        ] {
            assert_eq!(Sqlite::redacted(url).as_deref(), Some(url));
        }
        for url in [
            "sqlite:",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite:file::memory:",
            "sqlite:a.db?mode=memory",
            "sqlite:a.db?mode=%6demory",
            "sqlite:a.db?mode=ro",
            "sqlite:a.db?cache=private&immutable=true",
            "postgres://h/db",
            "a.db",
            "",
        ] {
            assert_eq!(Sqlite::redacted(url), None, "{url}");
        }
    }
}
