//! The database: a pool with limits, and the migrations that it needs.
//!
//! Whatever differs between engines is in one file beside this one; everything else, the service's
//! own queries included, is the same for SQLite and Postgres.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use config::ValueKind;
use secrecy::{ExposeSecret, SecretString};
use sqlx::Connection;
use sqlx::migrate::MigrateError;
use sqlx::pool::PoolOptions;

use super::settings::{Check, REDACTED, Reader, Section, Setting};

// The engine that this service was made for.{{ nl }}mod {{ database }};{{ nl }}use {{ database }} as engine;{% comment %}
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
use postgres as engine;
#[cfg(not(feature = "postgres"))]
mod sqlite;
#[cfg(not(feature = "postgres"))]
use sqlite as engine;
// {% endcomment %}

pub use engine::Db;

/// `[database]`
#[derive(Debug, Clone)]
pub struct Settings {
    pub url: Url,
    pub max_connections: u32,
    pub acquire_timeout: Duration,
    pub migrate_on_start: bool,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            url: from.value("url"),
            max_connections: from.value("max_connections"),
            acquire_timeout: from.value("acquire_timeout"),
            migrate_on_start: from.value("migrate_on_start"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            !self.acquire_timeout.is_zero(),
            &["database.acquire_timeout"],
            "must be longer than nothing",
        );
        check.that(
            (1..=10_000).contains(&self.max_connections),
            &["database.max_connections"],
            "must be from 1 to 10000",
        );
    }
}

/// Where the database is. A password in it is a secret, and the rest of it may be seen.
#[derive(Debug, Clone)]
pub struct Url {
    whole: SecretString,
    shown: String,
}

impl Setting for Url {
    const EXPECTED: &'static str = engine::EXPECTED_URL;
    const SECRET: bool = true;

    fn parse(value: &ValueKind) -> Option<Self> {
        let text = String::parse(value).filter(|text| !text.contains(REDACTED))?;
        let shown = engine::redacted(&text)?;
        Some(Self {
            whole: text.into(),
            shown,
        })
    }

    fn redacted(&self) -> String {
        self.shown.clone()
    }
}

/// What can go wrong between the start and the first query, named so that it can be mended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the database {url} (database.url): {cause}")]
    Open { url: String, cause: sqlx::Error },
    #[error("cannot migrate the database {url}: {cause}")]
    Migrate { url: String, cause: MigrateError },
    #[error(
        "the database {url} lacks {count} migrations, and database.migrate_on_start is false; \
         run `{program} migrate` first",
        program = env!("CARGO_PKG_NAME")
    )]
    Pending { url: String, count: usize },
    #[error(
        "the database {url} has migration {version}, which this binary {what}; \
         run the binary that applied it, or a newer one"
    )]
    Foreign {
        url: String,
        version: i64,
        what: &'static str,
    },
}

/// The service's database.
#[derive(Debug, Clone)]
pub struct Database {
    pool: sqlx::Pool<Db>,
    url: String,
    /// Whoever still uses a connection is not waited for.
    closing: Arc<AtomicBool>,
}

impl Database {
    /// Connects, which on SQLite creates the file and its directory.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached or refuses this user.
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        let url = settings.url.shown.clone();
        let failed = |cause| Error::Open {
            url: url.clone(),
            cause,
        };
        let options = engine::options(settings.url.whole.expose_secret()).map_err(failed)?;
        // A pool says no more than that it has no connection; one by itself says why.
        let first = <Db as sqlx::Database>::Connection::connect_with(&options);
        let first = tokio::time::timeout(settings.acquire_timeout, first).await;
        let first = first
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(failed)?;
        first.close().await.map_err(failed)?;
        let closing = Arc::new(AtomicBool::new(false));
        let pool = PoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout);
        let pool = engine::interruptible(pool, &closing).connect_lazy_with(options);
        Ok(Self { pool, url, closing })
    }

    /// Whether there is a database to connect to, as far as that can be told without making one.
    ///
    /// # Errors
    ///
    /// When the URL is none.
    pub fn exists(settings: &Settings) -> Result<bool, Error> {
        let failed = |cause| Error::Open {
            url: settings.url.shown.clone(),
            cause,
        };
        engine::exists(settings.url.whole.expose_secret()).map_err(failed)
    }

    /// Connections for the service's queries.
    #[must_use]
    pub fn pool(&self) -> &sqlx::Pool<Db> {
        &self.pool
    }

    /// Applies every migration that is pending.
    ///
    /// # Errors
    ///
    /// When one fails, or when the database has been migrated beyond what this binary knows.
    pub async fn migrate(&self) -> Result<(), Error> {
        let failed = |cause| Error::Migrate {
            url: self.url.clone(),
            cause,
        };
        engine::MIGRATIONS.run(&self.pool).await.map_err(failed)
    }

    /// How many migrations are pending. Changes nothing.
    ///
    /// # Errors
    ///
    /// When the database does not answer, or has a migration that this binary does not know.
    pub async fn pending(&self) -> Result<usize, Error> {
        let failed = |cause| Error::Open {
            url: self.url.clone(),
            cause,
        };
        let known: Vec<_> = engine::MIGRATIONS.iter().collect();
        let migrated: bool = sqlx::query_scalar(engine::IS_MIGRATED)
            .fetch_one(&self.pool)
            .await
            .map_err(failed)?;
        if !migrated {
            return Ok(known.len());
        }
        let query = sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations");
        let applied: Vec<(i64, Vec<u8>, bool)> =
            query.fetch_all(&self.pool).await.map_err(failed)?;
        for (version, checksum, success) in &applied {
            let foreign = |what| Error::Foreign {
                url: self.url.clone(),
                version: *version,
                what,
            };
            match known.iter().find(|migration| migration.version == *version) {
                None => return Err(foreign("does not know")),
                Some(same) if *same.checksum != **checksum => return Err(foreign("has otherwise")),
                Some(_) if !success => return Err(foreign("finds half applied")),
                Some(_) => {}
            }
        }
        Ok(known.len() - applied.len())
    }

    /// Brings the schema up to date, or refuses to go on with one that is not.
    ///
    /// # Errors
    ///
    /// As [`Self::migrate`], and when a migration is pending that may not be applied now.
    pub async fn prepare(&self, migrate_on_start: bool) -> Result<(), Error> {
        if migrate_on_start {
            return self.migrate().await;
        }
        match self.pending().await? {
            0 => Ok(()),
            count => Err(Error::Pending {
                url: self.url.clone(),
                count,
            }),
        }
    }

    /// One round trip, to see whether it answers.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT 1")
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    /// Closes every connection, also one with a migration under way; says what was still out at
    /// the deadline.
    pub async fn close(&self, deadline: Duration) -> Option<String> {
        self.closing.store(true, Ordering::Relaxed);
        let closed = tokio::time::timeout(deadline, self.pool.close()).await;
        closed.is_err().then(|| "database connections".to_owned())
    }
}
