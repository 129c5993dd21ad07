//! SQLite, in a file: nothing to install, nothing to operate.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

pub type Db = sqlx::Sqlite;

pub(super) const EXPECTED_URL: &str = "a SQLite URL, such as `sqlite:data/service.db`";

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Whether the table of migrations exists.
pub(super) const IS_MIGRATED: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')";

/// The URL as it may be seen: a file has no password. `None` when it is not one of a file, since
/// each connection to a database in memory would see another one.
pub(super) fn redacted(url: &str) -> Option<String> {
    let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let in_memory = path.contains(":memory:") || pairs.any(|(_, value)| value == "memory");
    let in_file = !path.is_empty() && !in_memory;
    let options = in_file.then(|| SqliteConnectOptions::from_str(url))?;
    options.is_ok().then(|| url.to_owned())
}

/// Whether the file is there.
pub(super) fn exists(url: &str) -> Result<bool, sqlx::Error> {
    Ok(SqliteConnectOptions::from_str(url)?.get_filename().exists())
}

pub(super) fn options(url: &str) -> Result<SqliteConnectOptions, sqlx::Error> {
    let options = SqliteConnectOptions::from_str(url)?;
    if let Some(directory) = options
        .get_filename()
        .parent()
        .filter(|path| *path != Path::new(""))
    {
        std::fs::create_dir_all(directory).map_err(|error| {
            let words = format!(
                "the directory {} cannot be made: {error}",
                directory.display()
            );
            sqlx::Error::Configuration(words.into())
        })?;
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

/// What is still running when the database closes is interrupted, and its transaction undone:
/// a statement runs in this process, and nothing else would end it.
pub(super) fn interruptible(pool: PoolOptions<Db>, closing: &Arc<AtomicBool>) -> PoolOptions<Db> {
    /// Steps of a statement between two looks, well below a millisecond.
    const STEPS: i32 = 10_000;
    let closing = Arc::clone(closing);
    pool.after_connect(move |connection, _| {
        let closing = Arc::clone(&closing);
        Box::pin(async move {
            let go_on = move || !closing.load(Ordering::Relaxed);
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(STEPS, go_on);
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::redacted;

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
            "postgres://h/db",
            "a.db",
            "",
        ] {
            assert_eq!(redacted(url), None, "{url}");
        }
    }
}
