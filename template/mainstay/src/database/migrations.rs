//! Migrations: one process at a time applies them, on a connection that is closed afterwards.

use std::fs::File;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use include_dir::{Dir, DirEntry};
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Executor, SqlSafeStr};
use tokio::time::{sleep, timeout};

use super::{DataFile, Database, Engine, Error, UnknownMigrations};
use crate::build_info::BuildInfo;

/// The versions of this crate's own migrations, which a database may have without the part that they are for. A service
/// numbers its own from 1 on, or by date.
pub const RESERVED_VERSIONS: RangeInclusive<i64> = 9000..=9999;

const TABLE: &str = "_sqlx_migrations";

const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Migrations that are part of the binary. [`migrations!`](crate::migrations!) makes them.
pub type Migrations = LazyLock<Migrator>;

/// Makes [`Migrations`](crate::database::Migrations) of the files in a directory, as `sqlx::migrate!` does, whose
/// feature `sqlx/macros` builds much of sqlx twice. A file is named `NUMBER_NAME.sql`: the first use panics if one is not.
/// If it starts with `-- no-transaction`, it runs outside of a transaction.
///
/// ```ignore
/// static MIGRATIONS: Migrations = mainstay::migrations!("$CARGO_MANIFEST_DIR/migrations/sqlite");
/// ```
///
/// cargo notices a new file if the build script prints `cargo:rerun-if-changed=migrations`.
#[macro_export]
macro_rules! migrations {
    ($directory:tt) => {{
        use $crate::database::include_dir;
        ::std::sync::LazyLock::new(|| {
            $crate::database::embedded(&include_dir::include_dir!($directory))
        })
    }};
}

/// The migrations in a directory, for [`migrations!`](crate::migrations!).
#[doc(hidden)]
#[must_use]
pub fn embedded(directory: &Dir<'static>) -> Migrator {
    let migrations = directory.entries().iter().map(|entry| {
        let path = entry.path().display();
        migration(entry).unwrap_or_else(|| panic!("{path} is not a migration: NUMBER_NAME.sql"))
    });
    Migrator::with_migrations(migrations.collect())
}

/// The migration in this file, as sqlx would read it.
fn migration(entry: &'static DirEntry<'static>) -> Option<Migration> {
    let file = entry.as_file()?;
    let stem = file.path().to_str()?.strip_suffix(".sql")?;
    let (version, description) = stem.split_once('_')?;
    let sql = file.contents_utf8()?;
    Some(Migration::new(
        version.parse().ok()?,
        description.replace('_', " ").into(),
        MigrationType::Simple,
        sql.into_sql_str(),
        sql.starts_with("-- no-transaction"),
    ))
}

/// The migrations of a service and of the parts of this crate that it uses, by version. Panics if two have the same
/// version: a mistake in the program, which every start finds.
pub(super) fn merged(migrators: &[&Migrator]) -> Vec<Migration> {
    let all = migrators.iter().flat_map(|migrator| migrator.iter());
    let mut all: Vec<_> = all.cloned().collect();
    all.sort_by_key(|migration| migration.version);
    for pair in all.windows(2) {
        let version = pair[1].version;
        assert!(
            pair[0].version != version,
            "two migrations have the number {version}"
        );
    }
    all
}

impl<E: Engine> Database<E> {
    /// Applies pending migrations, or fails if there are any and `database.migrate_on_start` is not set. Verifies the
    /// applied ones.
    pub async fn migrate_or_verify(&self) -> Result<(), Error> {
        let settings = &self.0.settings;
        match self.pending().await? {
            0 => {}
            _ if settings.migrate_on_start => self.migrate().await?,
            count => {
                return Err(self.run_migrate_first(&format!("has pending migrations ({count})")));
            }
        }
        // Opens a connection that reads. SQLite creates the files that connections share with the first one: if
        // the disk is full later, no read would succeed.
        let ping = self.ping().await;
        ping.map_err(|cause| settings.cannot_open(cause))
    }

    pub(super) fn run_migrate_first(&self, problem: &str) -> Error {
        let (name, program) = (self.name(), BuildInfo::current().name);
        self.0.settings.error(format_args!(
            "it {problem}, and {name}.migrate_on_start is false; run `{program} migrate` first"
        ))
    }

    /// Applies the pending migrations. Only one process does so at a time; the others wait for
    /// `database.migrate_timeout` at most. Fails if the database has a migration that this binary does not have.
    pub async fn migrate(&self) -> Result<(), Error> {
        let migrated = async {
            let mut lease = self.write().checkout().await?;
            // Detached: its locks end with the connection.
            let connection = lease.detach()?;
            let _lock = self.lock(connection).await?;
            let pending = self.pending_on(connection).await?;
            let concurrent = pending.iter().any(|migration| migration.no_tx);
            let lift = sqlx::raw_sql(E::LIFT_LIMITS[usize::from(concurrent)]);
            E::executor(connection).execute(lift).await?;
            let mut migrator = Migrator::with_migrations(self.0.migrations.clone());
            // `pending_on` has refused unknown migrations, unless the settings tolerate them.
            migrator.set_locking(false).set_ignore_missing(true);
            // Not `run`: its future is not `Send`.
            migrator.run_direct(None, connection, false).await
        };
        migrated.await.map_err(|cause| self.cannot_migrate(cause))
    }

    /// Waits until no other process migrates.
    async fn lock(&self, connection: &mut E::Connection) -> Result<Option<File>, MigrateError> {
        let mut is_waiting = false;
        let locked = timeout(self.0.settings.migrate_timeout, async {
            loop {
                let row = E::executor(connection).fetch_optional(E::LOCK_MIGRATIONS);
                let row = row.await?;
                // `Some(None)` if another process has locked the file.
                let file = self.0.file.get().map(DataFile::try_lock).transpose();
                let file = file.map_err(sqlx::Error::Io)?;
                if row.is_some() && !matches!(file, Some(None)) {
                    return Ok(file.flatten());
                }
                if !is_waiting {
                    is_waiting = true;
                    tracing::info!("waiting for another process to migrate the database");
                }
                sleep(LOCK_INTERVAL).await;
            }
        });
        locked.await.unwrap_or_else(|_elapsed| {
            let name = self.name();
            let late = format!("another process still migrates it ({name}.migrate_timeout)");
            Err(MigrateError::Source(late.into()))
        })
    }

    /// The number of pending migrations. It changes nothing.
    pub(crate) async fn pending(&self) -> Result<usize, Error> {
        let pending = async {
            let mut lease = self.write().checkout().await?;
            let pending = self.pending_on(lease.detach()?);
            let pending = timeout(self.0.settings.statement_timeout, pending).await;
            let pending = pending.map_err(|_elapsed| sqlx::Error::PoolTimedOut)??;
            Ok(pending.len())
        };
        pending.await.map_err(|cause| self.cannot_migrate(cause))
    }

    /// The pending migrations. Refuses a database with a migration that this binary does not have, or has with
    /// other content.
    async fn pending_on(
        &self,
        connection: &mut E::Connection,
    ) -> Result<Vec<&Migration>, MigrateError> {
        let table = E::executor(connection).fetch_optional(E::FIND_MIGRATIONS);
        let applied = match table.await? {
            Some(_) => connection.list_applied_migrations(TABLE).await?,
            None => Vec::new(),
        };
        let tolerates = self.0.settings.unknown_migrations == UnknownMigrations::Tolerate;
        let migrations = &self.0.migrations;
        for AppliedMigration { version, checksum } in &applied {
            match migrations.iter().find(|known| known.version == *version) {
                Some(known) if known.checksum == *checksum => {}
                Some(_) => return Err(MigrateError::VersionMismatch(*version)),
                None if tolerates || RESERVED_VERSIONS.contains(version) => {}
                None => return Err(MigrateError::VersionMissing(*version)),
            }
        }
        let is_applied = |version| applied.iter().any(|applied| applied.version == version);
        let pending = migrations.iter().filter(|it| !is_applied(it.version));
        Ok(pending.collect())
    }

    fn cannot_migrate(&self, cause: MigrateError) -> Error {
        let settings = &self.0.settings;
        match cause {
            MigrateError::Execute(cause) => settings.cannot_open(cause),
            MigrateError::VersionMissing(version) => settings.error(format_args!(
                "it has migration {version}, which this binary does not know; run a newer binary"
            )),
            MigrateError::Source(cause) => settings.error(cause),
            cause => settings.error(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use include_dir::File;

    use super::*;

    /// A database that was migrated with `sqlx::migrate!` goes on with `migrations!`, and back.
    #[tokio::test]
    async fn embedded_migrations_are_those_that_sqlx_reads() {
        let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite"));
        let read = Migrator::new(directory).await.unwrap();
        let embedded = crate::migrations!("$CARGO_MANIFEST_DIR/migrations/sqlite");

        let compared = |migrator: &Migrator| {
            let all = migrator.iter().cloned();
            let all = all.map(|it| (it.version, it.description, it.checksum, it.no_tx));
            all.collect::<Vec<_>>()
        };
        assert_eq!(compared(&embedded), compared(&read));
        assert_eq!(read.iter().count(), 1);
    }

    #[test]
    #[should_panic(expected = "guests.sql is not a migration")]
    fn file_with_another_name_is_refused() {
        const MISNAMED: [DirEntry<'_>; 1] = [DirEntry::File(File::new("guests.sql", b""))];
        drop(embedded(&Dir::new("", &MISNAMED)));
    }
}
