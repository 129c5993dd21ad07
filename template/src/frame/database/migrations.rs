//! Migrations: applied by one process at a time, on a connection of their own, and never half known.

use std::time::Duration;

use sqlx::Executor;
use sqlx::migrate::{MigrateError, Migrator};
use tokio::time::{Instant, sleep, timeout};

use super::engine::{self, Db};
use super::errors::Error;
use super::settings::Unknown;
use super::{Connection, Database};

/// How often another process is asked whether it is done.
const PAUSE: Duration = Duration::from_millis(100);

impl Database {
    /// Brings the schema up to date, or refuses to go on with one that is not.
    ///
    /// # Errors
    ///
    /// As [`Self::migrate`], and when a migration is pending that may not be applied now.
    pub async fn prepare(&self) -> Result<(), Error> {
        match self.pending().await? {
            0 => {}
            _ if self.settings.migrate_on_start => self.migrate().await?,
            count => {
                return Err(Error::Pending {
                    url: self.url(),
                    count,
                });
            }
        }
        // Whoever reads has a connection from now on. SQLite makes the files that connections share
        // with the first of them: on a disk that is full by then, nobody could read any more.
        let ping = self.ping().await;
        ping.map_err(|cause| self.settings.cannot_open(cause))
    }

    /// Applies every migration that is pending. Other processes wait for that, or this one for them.
    ///
    /// # Errors
    ///
    /// When one fails, when another process does not come to its end, or when the database has been
    /// migrated by what this binary does not know.
    pub async fn migrate(&self) -> Result<(), Error> {
        let failed = |cause| self.settings.cannot_open(cause);
        let mut lease = self.write().lend().await.map_err(failed)?;
        // Nobody else gets it afterwards: with its end, its locks are gone as well.
        let connection = lease.seize().map_err(failed)?;
        let _lock = self.lock(connection).await?;
        let applied = applied(connection).await.map_err(failed)?;
        let concurrent = engine::MIGRATIONS.iter().any(|migration| {
            let is_applied = |applied: &Applied| applied.version == migration.version;
            migration.no_tx && !applied.iter().any(is_applied)
        });
        let unhurried = engine::unhurried(connection, concurrent);
        unhurried.await.map_err(failed)?;
        let migrations = engine::MIGRATIONS.iter().cloned().collect();
        let mut migrator = Migrator::with_migrations(migrations);
        migrator
            .set_locking(false)
            .set_ignore_missing(self.settings.unknown_migrations == Unknown::Tolerate);
        // `run` is the same, and its future not general enough to be sent between threads.
        let migrated = migrator.run_direct(None, connection, false).await;
        migrated.map_err(|cause| self.explain(cause))
    }

    /// Waits until no other process migrates.
    async fn lock(&self, connection: &mut Connection) -> Result<engine::Lock, Error> {
        let limit = self.settings.migrate_timeout;
        let deadline = Instant::now() + limit;
        let mut waits = false;
        loop {
            // The link may be dead.
            let lock = engine::try_lock(connection, self.settings.url.expose());
            let lock = timeout(self.settings.acquire_timeout, lock).await;
            let lock = lock.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            if let Some(lock) = lock.map_err(|cause| self.settings.cannot_open(cause))? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(Error::Locked {
                    url: self.url(),
                    limit: humantime::format_duration(limit).to_string(),
                });
            }
            if !waits {
                waits = true;
                tracing::info!("waiting for another process to migrate the database");
            }
            sleep(PAUSE).await;
        }
    }

    fn explain(&self, cause: MigrateError) -> Error {
        let url = self.url();
        let foreign = |version, what| Error::Foreign {
            url: self.url(),
            version,
            what,
        };
        match cause {
            MigrateError::ExecuteMigration(cause, version) => Error::Migration {
                url,
                file: file(version),
                cause,
            },
            MigrateError::VersionMissing(version) => foreign(version, "does not know"),
            MigrateError::VersionMismatch(version) => foreign(version, "has otherwise"),
            MigrateError::Dirty(version) => foreign(version, "finds half applied"),
            cause => Error::Migrate { url, cause },
        }
    }

    /// How many migrations are pending. Changes nothing.
    ///
    /// # Errors
    ///
    /// When the database does not answer, or has a migration that this binary does not know.
    pub async fn pending(&self) -> Result<usize, Error> {
        let failed = |cause| self.settings.cannot_open(cause);
        let mut lease = self.write().lend().await.map_err(failed)?;
        let applied = applied(&mut lease).await.map_err(failed)?;
        let known: Vec<_> = engine::MIGRATIONS.iter().collect();
        let mut unknown = 0;
        for Applied {
            version,
            checksum,
            success,
        } in &applied
        {
            let foreign = |what| Error::Foreign {
                url: self.url(),
                version: *version,
                what,
            };
            match known.iter().find(|migration| migration.version == *version) {
                None if self.settings.unknown_migrations == Unknown::Tolerate => unknown += 1,
                None => return Err(foreign("does not know")),
                Some(same) if *same.checksum != **checksum => return Err(foreign("has otherwise")),
                Some(_) if !success => return Err(foreign("finds half applied")),
                Some(_) => {}
            }
        }
        Ok(known.len() - (applied.len() - unknown))
    }

    fn url(&self) -> String {
        self.settings.url.shown().to_owned()
    }
}

/// A migration that was begun on this database, and whether it came to its end.
#[derive(sqlx::FromRow)]
struct Applied {
    version: i64,
    checksum: Vec<u8>,
    success: bool,
}

async fn applied<C>(connection: &mut C) -> Result<Vec<Applied>, sqlx::Error>
where
    for<'c> &'c mut C: Executor<'c, Database = Db>,
{
    let migrated = sqlx::query_scalar(engine::IS_MIGRATED);
    if !migrated.fetch_one(&mut *connection).await? {
        return Ok(Vec::new());
    }
    let query = sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations");
    query.fetch_all(connection).await
}

/// The file that a migration came from: `0007_add_index.sql`.
fn file(version: i64) -> String {
    let migrations = &engine::MIGRATIONS;
    let migration = migrations.iter().find(|known| known.version == version);
    let name = migration.map_or("?", |known| &known.description);
    format!("{version:04}_{}.sql", name.replace(' ', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_the_name_by_which_a_failure_would_call_it() {
        let directory = format!("{}/{}", env!("CARGO_MANIFEST_DIR"), engine::DIRECTORY);
        let found = std::fs::read_dir(directory).unwrap().map(|file| {
            let name = file.unwrap().file_name();
            name.into_string().unwrap()
        });
        let mut found: Vec<_> = found.collect();
        found.sort();
        let known = engine::MIGRATIONS.iter();
        let called: Vec<_> = known.map(|migration| file(migration.version)).collect();
        assert_eq!(found, called);
    }
}
