//! SQLite, in a file: nothing to install, nothing to operate.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

pub type Db = sqlx::Sqlite;

pub(super) const EXPECTED_URL: &str = "a SQLite URL, such as `sqlite:data/service.db`";

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Whether the table of migrations exists.
pub(super) const IS_MIGRATED: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')";

/// The URL as it may be seen: a file has no password. `None` when it is not one.
pub(super) fn redacted(url: &str) -> Option<String> {
    let options = url
        .starts_with("sqlite:")
        .then(|| SqliteConnectOptions::from_str(url))?;
    options.is_ok().then(|| url.to_owned())
}

pub(super) fn options(url: &str) -> Result<SqliteConnectOptions, sqlx::Error> {
    let options = SqliteConnectOptions::from_str(url)?;
    if let Some(directory) = options
        .get_filename()
        .parent()
        .filter(|path| *path != Path::new(""))
    {
        std::fs::create_dir_all(directory)?;
    }
    Ok(options
        .create_if_missing(true)
        // Readers do not wait for the writer, nor the writer for them.
        .journal_mode(SqliteJournalMode::Wal)
        // With WAL, this may lose the last commits in a power cut, but never corrupts the file.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true))
}
