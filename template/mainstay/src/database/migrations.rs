//! Migrations: applied by one process at a time, on a connection of their own, and never half known.

use std::ops::RangeInclusive;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, Migrator};
use tokio::time::{Instant, sleep, timeout};

use super::Database;
use super::engine::{Applied, Engine};
use super::errors::Error;
use super::settings::UnknownMigrations;

/// The versions of this crate's own migrations. A service numbers its own from 1 on, or by date.
pub const RESERVED_VERSIONS: RangeInclusive<i64> = 9000..=9999;

/// Every migration of this crate, whatever its features: a database that was migrated with a feature works
/// without it.
const OF_MACHINERY: [(i64, &str); 1] = [(9001, "idempotency")];

/// The migrations of a service and of the parts of this crate that it uses, by version.
///
/// # Panics
///
/// If two have the same version, or one of the service's is in [`RESERVED_VERSIONS`]: a mistake in the program,
/// which every start finds.
pub(super) fn merged(migrators: &[&Migrator]) -> Vec<Migration> {
    let mut all: Vec<_> = migrators
        .iter()
        .flat_map(|migrator| migrator.iter().cloned())
        .collect();
    all.sort_by_key(|migration| migration.version);
    for pair in all.windows(2) {
        assert!(
            pair[0].version != pair[1].version,
            "two migrations have the number {}",
            pair[0].version
        );
    }
    for migration in &all {
        let own = (migration.version, &*migration.description);
        assert!(
            !RESERVED_VERSIONS.contains(&migration.version) || OF_MACHINERY.contains(&own),
            "the migration {} has a number of the machinery's: {} to {}",
            migration.version,
            RESERVED_VERSIONS.start(),
            RESERVED_VERSIONS.end()
        );
    }
    all
}

/// How often this process looks whether another one has finished.
const PAUSE: Duration = Duration::from_millis(100);

impl<E: Engine> Database<E> {
    /// Applies pending migrations if `database.migrate_on_start` is set, and verifies the applied ones.
    ///
    /// # Errors
    ///
    /// Like [`migrate`](Self::migrate). Also if a migration is pending and `database.migrate_on_start` is not set.
    pub async fn migrate_or_verify(&self) -> Result<(), Error> {
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
        // Opens a connection that reads. SQLite creates the files that connections share with the first one:
        // once the disk is full, no read would succeed.
        let ping = self.ping().await;
        ping.map_err(|cause| self.settings.cannot_open(cause))
    }

    /// Applies the pending migrations. Only one process does so at a time; the others wait.
    ///
    /// # Errors
    ///
    /// If a migration fails, another process migrates for longer than `database.migrate_timeout`, or the database
    /// has a migration that this binary does not have.
    pub async fn migrate(&self) -> Result<(), Error> {
        let failed = |cause| self.settings.cannot_open(cause);
        let mut lease = self.write().checkout().await.map_err(failed)?;
        // Nobody else gets it afterwards: with its end, its locks are gone as well.
        let connection = lease.detach().map_err(failed)?;
        let _lock = self.lock(connection).await?;
        let applied = E::applied(connection).await.map_err(failed)?;
        self.refuse_foreign(&applied)?;
        let concurrent = self.migrations.iter().any(|migration| {
            let is_applied = |applied: &Applied| applied.version == migration.version;
            migration.no_tx && !applied.iter().any(is_applied)
        });
        E::lift_limits(connection, concurrent)
            .await
            .map_err(failed)?;
        let mut migrator = Migrator::with_migrations(self.migrations.to_vec());
        migrator
            .set_locking(false)
            // What is unknown was refused above, unless it may be there.
            .set_ignore_missing(true);
        // `run` is the same, and its future not general enough to be sent between threads.
        let migrated = migrator.run_direct(None, connection, false).await;
        migrated.map_err(|cause| self.explain(cause))
    }

    /// Waits until no other process migrates.
    async fn lock(&self, connection: &mut E::Connection) -> Result<E::Lock, Error> {
        let limit = self.settings.migrate_timeout;
        let deadline = Instant::now() + limit;
        let mut waits = false;
        loop {
            // The link may be dead.
            let lock = E::try_lock(connection, self.settings.url.expose());
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
        match cause {
            MigrateError::ExecuteMigration(cause, version) => Error::Migration {
                url,
                file: self.file_of(version),
                cause,
            },
            cause => Error::Migrate { url, cause },
        }
    }

    /// How many migrations are pending. It changes nothing.
    pub(crate) async fn pending(&self) -> Result<usize, Error> {
        let failed = |cause| self.settings.cannot_open(cause);
        let mut lease = self.write().checkout().await.map_err(failed)?;
        let connection = lease.detach().map_err(failed)?;
        let limit = self.settings.statement_timeout;
        let applied = timeout(limit, E::applied(connection)).await;
        let applied = applied.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let applied = applied.map_err(failed)?;
        self.refuse_foreign(&applied)?;
        let is_applied = |migration: &&Migration| {
            let mut applied = applied.iter();
            applied.any(|applied| applied.version == migration.version)
        };
        let known = self.migrations.iter().filter(is_applied).count();
        Ok(self.migrations.len() - known)
    }

    /// Refuses a database that has a migration which this binary does not know, or knows otherwise.
    fn refuse_foreign(&self, applied: &[Applied]) -> Result<(), Error> {
        for applied in applied {
            let version = applied.version;
            let of_machinery = OF_MACHINERY.iter().any(|(number, _)| *number == version);
            let may_be_unknown =
                of_machinery || self.settings.unknown_migrations == UnknownMigrations::Tolerate;
            let mut known = self.migrations.iter();
            let known = known.find(|migration| migration.version == version);
            let what = match known {
                None if may_be_unknown => continue,
                None => "does not know",
                Some(known) if *known.checksum != *applied.checksum => {
                    "has with another checksum: one of the two was edited"
                }
                Some(_) if !applied.success => "finds partially applied",
                Some(_) => continue,
            };
            return Err(Error::Foreign {
                url: self.url(),
                version,
                what,
            });
        }
        Ok(())
    }

    pub(super) fn url(&self) -> String {
        self.settings.url.shown().to_owned()
    }

    /// The file that a migration came from: `0007_add_index.sql`.
    pub(crate) fn file_of(&self, version: i64) -> String {
        let mut migrations = self.migrations.iter();
        let migration = migrations.find(|known| known.version == version);
        let name = migration.map_or("?", |known| &known.description);
        format!("{version:04}_{}.sql", name.replace(' ', "_"))
    }
}
