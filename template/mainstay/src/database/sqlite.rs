//! SQLite, in a file: nothing to install, nothing to operate.

#![expect(
    clippy::disallowed_methods,
    reason = "files are made at the start, looked for at the end, and between on a thread for that"
)]

mod file;

use std::borrow::Cow;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteError, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{Executor, Sqlite};

use super::engine::{Applied, Engine, Options, Pools, Target, private::Sealed};
use super::error_kind::{ErrorKind, ErrorRules};
use file::Storage;

impl Sealed for Sqlite {}

impl Engine for Sqlite {
    const EXPECTED_URL: &'static str =
        "the SQLite URL of a file that can be written, such as `sqlite:data/service.db`";
    const SYSTEM: &'static str = "sqlite";
    const POOLS: [&'static str; 2] = ["readers", "writer"];
    // The right to write is had before the first statement, so that none of them finds it taken.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const MAY_LEAVE_TRANSACTION_OPEN: bool = true;
    const ERRORS: ErrorRules = ERRORS;

    type Storage = Storage;
    type Interrupt = Interrupt;
    type Lock = File;

    fn executor(connection: &mut SqliteConnection) -> impl Executor<'_, Database = Self> {
        connection
    }

    fn redacted(url: &str) -> Option<String> {
        redacted(url)
    }

    fn exists(url: &str) -> bool {
        SqliteConnectOptions::from_str(url).is_ok_and(|options| options.get_filename().exists())
    }

    /// Many connections that read, and the one that can write.
    fn pools(target: &Target<'_>) -> Result<Pools<Options<Self>>, sqlx::Error> {
        let writer = options(target)?;
        let readers = writer.clone().pragma("query_only", "ON");
        Ok(Pools::ReadersAndWriter { readers, writer })
    }

    fn client_timeout(statement: Duration, _ping: Duration) -> Duration {
        statement
    }

    fn open_storage(target: &Target<'_>) -> Result<Storage, sqlx::Error> {
        create(target.url)?;
        Storage::open(target.url)
    }

    async fn check_storage(storage: &Storage) -> Result<(), sqlx::Error> {
        storage.check().await
    }

    fn warn_of_leftovers(storage: &Storage) {
        storage.warn_of_leftovers();
    }

    async fn version<L>(lease: &mut L) -> Result<String, sqlx::Error>
    where
        L: Send,
        for<'c> &'c mut L: Executor<'c, Database = Self>,
    {
        let query = sqlx::query_scalar("SELECT sqlite_version()");
        query.fetch_one(lease).await
    }

    fn check_version(version: &str) -> Result<(), sqlx::Error> {
        check_version(version)
    }

    async fn probe<L>(lease: &mut L) -> Result<(), sqlx::Error>
    where
        L: Send,
        for<'c> &'c mut L: Executor<'c, Database = Self>,
    {
        file::probe(lease).await
    }

    async fn install_interrupt(
        connection: &mut SqliteConnection,
    ) -> Result<Interrupt, sqlx::Error> {
        /// Steps of a statement between two looks, well below a millisecond.
        const STEPS: i32 = 10_000;
        let asked = Arc::new(AtomicBool::new(false));
        let interrupt = Interrupt(Arc::clone(&asked));
        let mut handle = connection.lock_handle().await?;
        handle.set_progress_handler(STEPS, move || !asked.load(Ordering::Relaxed));
        drop(handle);
        Ok(interrupt)
    }

    fn interrupt(interrupt: &Interrupt) {
        interrupt.0.store(true, Ordering::Relaxed);
    }

    fn clear_interrupt(interrupt: &Interrupt) {
        interrupt.0.store(false, Ordering::Relaxed);
    }

    async fn applied(connection: &mut SqliteConnection) -> Result<Vec<Applied>, sqlx::Error> {
        let is_migrated = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')",
        );
        if !is_migrated.fetch_one(&mut *connection).await? {
            return Ok(Vec::new());
        }
        let query = sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations");
        query.fetch_all(connection).await
    }

    /// No statement has a limit in SQLite itself.
    async fn lift_limits(_: &mut SqliteConnection, _: bool) -> Result<(), sqlx::Error> {
        Ok(())
    }

    /// The directory of the database, locked: a file beside the database would stay behind, and the
    /// database's own locks are of another kind.
    async fn try_lock(_: &mut SqliteConnection, url: &str) -> Result<Option<File>, sqlx::Error> {
        let options = SqliteConnectOptions::from_str(url)?;
        let directory = options.get_filename().parent();
        let directory = directory.filter(|path| *path != Path::new(""));
        let directory = File::open(directory.unwrap_or(Path::new(".")))?;
        match directory.try_lock() {
            Ok(()) => Ok(Some(directory)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// One transaction writes at a time, in whatever process: every claim holds.
    async fn try_claim<L>(_: &mut L, _name: &str) -> Result<bool, sqlx::Error>
    where
        L: Send,
        for<'c> &'c mut L: Executor<'c, Database = Self>,
    {
        Ok(true)
    }

    fn skip_locked(_table: &str) -> String {
        String::new()
    }
}

/// How the errors of SQLite are read.
pub(super) const ERRORS: ErrorRules = ErrorRules {
    has_reported: |error| error.try_downcast_ref::<SqliteError>().is_some(),
    is_transient,
    is_fatal,
    is_no_transaction,
    kind,
    field,
    about,
    explain,
};

/// Set to end the statement that is running: nothing else would, it runs in this process.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

/// The URL as it may be seen: a file has no password. `None` when it is not one of a file, since
/// each connection to a database in memory would see another one, or of one that is not to be written.
fn redacted(url: &str) -> Option<String> {
    let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let of_no_use = |(key, value): (Cow<'_, str>, Cow<'_, str>)| match &*key {
        "immutable" => !matches!(&*value, "false" | "0"),
        _ => value == "memory" || (key == "mode" && value == "ro"),
    };
    let in_memory = path.contains(":memory:");
    let in_file = !path.is_empty() && !in_memory && !pairs.any(of_no_use);
    let options = in_file.then(|| SqliteConnectOptions::from_str(url))?;
    options.is_ok().then(|| url.to_owned())
}

fn options(target: &Target<'_>) -> Result<SqliteConnectOptions, sqlx::Error> {
    Ok(SqliteConnectOptions::from_str(target.url)?
        .create_if_missing(false)
        // Readers do not wait for the writer, nor the writer for them.
        .journal_mode(SqliteJournalMode::Wal)
        // What was acknowledged is on the disk, also after a power cut. `Normal` would be faster,
        // and lose the last commits.
        .synchronous(SqliteSynchronous::Full)
        // Within this process, writers wait for the one connection: this is for other processes.
        .busy_timeout(target.acquire_timeout)
        .foreign_keys(true))
}

/// Makes the file here, once: one that goes away later is missed, and not replaced by an empty one.
fn create(url: &str) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::from_str(url)?;
    let file = options.get_filename();
    if let Some(directory) = file.parent().filter(|path| *path != Path::new("")) {
        std::fs::create_dir_all(directory).map_err(|error| {
            let words = format!(
                "the directory {} cannot be made: {error}",
                directory.display()
            );
            sqlx::Error::Configuration(words.into())
        })?;
    }
    match File::create_new(file) {
        Err(error) if !file.exists() => {
            let words = format!("the file {} cannot be made: {error}", file.display());
            Err(sqlx::Error::Configuration(words.into()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Refuses what is known to corrupt databases: before 3.51.3, a reset of the log could lose commits.
fn check_version(version: &str) -> Result<(), sqlx::Error> {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    if (part(), part(), part()) >= (3, 51, 3) {
        return Ok(());
    }
    let words = format!("SQLite {version} can lose commits; 3.51.3 or newer is needed");
    Err(sqlx::Error::Configuration(words.into()))
}

/// Another process may be writing.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => is_busy(&**error),
        sqlx::Error::PoolTimedOut => true,
        _ => false,
    }
}

/// Whether a connection is of no use after that.
fn is_fatal(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed)
}

/// Whether a `ROLLBACK` has failed because there was nothing to undo.
fn is_no_transaction(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.message().contains("no transaction is active"))
}

fn kind(error: &dyn DatabaseError) -> ErrorKind {
    const INTERRUPTED: i32 = 9;
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    match code(error) {
        _ if is_busy(error) || is_full(error) => ErrorKind::Unavailable,
        INTERRUPTED => ErrorKind::Timeout,
        // A key that restricts a delete is told as a trigger.
        CONSTRAINT if error.message().starts_with("FOREIGN KEY") => {
            ErrorKind::Reference { field: None }
        }
        // What was given is no value for that column, or one that there is no room for.
        CONSTRAINT | MISMATCH | TOO_BIG => ErrorKind::Invalid { field: None },
        _ => ErrorKind::Internal,
    }
}

/// The column in "UNIQUE constraint failed: targets.url", and in the name of a check that ends so:
/// `targets_url_check`. A check without a name is told by its text.
fn field(error: &dyn DatabaseError) -> Option<String> {
    let (_, about) = error.message().split_once("constraint failed: ")?;
    let first = about.split(',').next()?.trim();
    let column = match first.split_once('.') {
        Some((_table, column)) => column,
        None => first.strip_suffix("_check")?.split_once('_')?.1,
    };
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let named = column.chars().all(is_name) && !column.starts_with(|c: char| c.is_numeric());
    named.then(|| column.to_owned())
}

/// What an error is about: what its number stands for, and a column.
fn about(error: &dyn DatabaseError) -> Vec<String> {
    let meaning = match code(error) {
        1 => "a statement that is none for this schema",
        8 => "it cannot be written",
        10 => "the disk",
        11 | 26 => "a damaged file",
        14 => "the file cannot be opened",
        _ => "a code of SQLite",
    };
    let column = field(error).map(|column| format!("column {column}"));
    std::iter::once(meaning.to_owned()).chain(column).collect()
}

/// What a first error means.
fn explain(error: &dyn DatabaseError) -> String {
    const NO_DATABASE: i32 = 26;
    const CORRUPT: i32 = 11;
    const READ_ONLY: i32 = 8;
    const CANNOT_OPEN: i32 = 14;
    let what = match code(error) {
        _ if is_full(error) => "; there must be room on the disk",
        NO_DATABASE | CORRUPT => {
            "; the file is none of SQLite, or damaged, and has been left as it is"
        }
        READ_ONLY | CANNOT_OPEN => "; the file and its directory must be writable for this user",
        _ => "",
    };
    format!("{}{what}", error.message())
}

fn is_busy(error: &dyn DatabaseError) -> bool {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    matches!(code(error), BUSY | LOCKED)
}

/// Whether there is no room on the disk, also for what connections share beside the file.
fn is_full(error: &dyn DatabaseError) -> bool {
    const FULL: i32 = 13;
    const NO_ROOM_TO_SHARE: i32 = 0x130a;
    code(error) == FULL || extended_code(error) == NO_ROOM_TO_SHARE
}

/// The primary result code, without what refines it.
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
    async fn a_read_cannot_write() {
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
    async fn an_error_is_told_by_its_number_and_what_that_stands_for() {
        let fixture = Fixture::new().await;
        let failed = sqlx::query("SELECT canary FROM things").execute(fixture.database.write());
        let words = log_safe_message(&failed.await.unwrap_err());
        let expected = "the database has refused it: 1 (a statement that is none for this schema)";
        assert_eq!(words, expected);
    }

    #[tokio::test]
    async fn a_close_leaves_the_file_alone() {
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

    #[test]
    fn a_version_that_can_lose_commits_is_refused() {
        for version in ["3.51.3", "3.51.10", "3.52.0", "4.0.0"] {
            assert!(check_version(version).is_ok(), "{version}");
        }
        for version in ["3.51.2", "3.45.1", "3.7.17", "nonsense"] {
            let refused = check_version(version).unwrap_err();
            assert!(refused.to_string().contains(version), "{refused}");
        }
    }

    #[test]
    fn a_database_is_a_file_and_never_in_memory() {
        for url in [
            "sqlite:a.db",
            "sqlite://a.db",
            "sqlite:///var/lib/a.db",
            "sqlite:a.db?mode=rwc",
        ] {
            assert_eq!(redacted(url).as_deref(), Some(url));
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
            assert_eq!(redacted(url), None, "{url}");
        }
    }
}
