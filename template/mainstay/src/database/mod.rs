//! A database: pooled connections with limits, migrations, and a close within a deadline.
//!
//! ```ignore
//! sqlx::query_as("SELECT id, url FROM targets").fetch_all(database.read()).await?;
//!
//! let mut transaction = database.begin().await?;
//! sqlx::query("INSERT …").execute(&mut *transaction).await?;
//! transaction.commit().await?;
//! ```
//!
//! - No caller waits without a limit.
//! - A connection carries no state from one caller to the next: open transactions are rolled back, and running
//!   statements are cancelled.
//! - A service does not run on a schema that it does not know.
//!
//! On SQLite, reads share several connections that cannot write; writes and transactions take turns on one
//! connection that can. They wait for it in the pool: in SQLite, they would fail as busy.

mod engine;
mod errors;
mod file;
mod lease;
mod migrations;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::migrate::{Migration, Migrator};
use tokio::time::{Instant, sleep, timeout_at};

pub use engine::{Engine, ErrorKind};
pub use errors::{Error, log_safe_message};
#[doc(hidden)]
pub use include_dir;
pub use lease::{Access, Lease, Transaction};
#[doc(hidden)]
pub use migrations::embedded;
pub use migrations::{Migrations, RESERVED_VERSIONS};
pub use settings::{OnStart, Settings, UnknownMigrations, Url};

use crate::metrics::pools::PoolStatus;
use file::DataFile;
use pool::Pool;

/// The settings of `[database]` with their defaults, for [`Service::settings`](crate::Service::settings).
pub const SETTINGS: &str = include_str!("../../config/database.toml");

/// The settings of another database, in a section of this name.
#[must_use]
pub fn settings_named(section: &str) -> String {
    let named = SETTINGS.replace("[database]", &format!("[{section}]"));
    named.replace("\ndatabase = ", &format!("\n{section} = "))
}

/// Connection pools and migrations. Clones share their state.
#[derive(Debug)]
pub struct Database<E: Engine>(Arc<Inner<E>>);

#[derive(Debug)]
struct Inner<E: Engine> {
    /// The first one reads, and the last one writes. On Postgres, they are the same.
    pools: Vec<Arc<Pool<E>>>,
    sqlx_pool: OnceLock<sqlx::Pool<E>>,
    /// On SQLite, from `connect` on.
    file: OnceLock<DataFile>,
    settings: Arc<Settings>,
    migrations: Vec<Migration>,
}

impl<E: Engine> Database<E> {
    /// A database that is not connected yet. `migrations` are those of the service, with versions outside of
    /// [`RESERVED_VERSIONS`], and those of the parts of the machinery that it uses, such as `idempotency::migrations()`.
    pub fn new(settings: &Settings, migrations: &[&Migrator]) -> Result<Self, Error> {
        let settings = Arc::new(settings.clone());
        if !settings.url.expose().starts_with(E::SCHEME) {
            return Err(settings.error(format_args!("it must begin with {}", E::SCHEME)));
        }
        let pools = E::pools(&settings).map_err(|cause| settings.cannot_open(cause))?;
        let pools = pools.into_iter().map(|(name, connections, options)| {
            Pool::new(name, options, connections, Arc::clone(&settings))
        });
        Ok(Self(Arc::new(Inner {
            pools: pools.collect(),
            sqlx_pool: OnceLock::new(),
            file: OnceLock::new(),
            migrations: migrations::merged(migrations),
            settings,
        })))
    }

    /// Connects to the database. If its server does not answer, this retries or fails, as `database.on_start` says. A
    /// SQLite file that does not exist is created if `database.migrate_on_start` is set.
    pub async fn connect(&self) -> Result<(), Error> {
        if !self.0.settings.migrate_on_start && !self.exists() {
            return Err(self.run_migrate_first("does not exist yet"));
        }
        self.connect_or_create().await
    }

    /// Connects, and creates a SQLite file that does not exist: for `migrate`.
    pub(crate) async fn connect_or_create(&self) -> Result<(), Error> {
        let settings = &self.0.settings;
        if let Some(path) = E::file(settings.url.expose()) {
            let file = DataFile::open_or_create(path);
            let file = file.map_err(|cause| settings.cannot_open(cause.into()))?;
            _ = self.0.file.set(file);
        }
        let mut pause = Duration::from_millis(100);
        loop {
            let Err(cause) = self.write().checkout().await else {
                return Ok(());
            };
            let is_server = self.0.file.get().is_none();
            let is_away = is_server && ErrorKind::of(&cause) == ErrorKind::Unavailable;
            let error = settings.cannot_open(cause);
            if settings.on_start == OnStart::Fail || !is_away {
                return Err(error);
            }
            tracing::warn!(cause = %error, "waiting for the database");
            sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Whether the database exists, as far as that is known without a connection.
    pub(crate) fn exists(&self) -> bool {
        E::file(self.0.settings.url.expose()).is_none_or(|path| DataFile::exists(&path))
    }

    /// Runs one statement that only reads.
    #[must_use]
    #[track_caller]
    pub fn read(&self) -> Access<'_, E> {
        Access::new(&self.0.pools[0])
    }

    /// Runs one statement that writes.
    #[must_use]
    #[track_caller]
    pub fn write(&self) -> Access<'_, E> {
        Access::new(self.writes())
    }

    /// Begins a transaction.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction<E>, sqlx::Error>> + Send {
        // Not an async function: the log names the caller, and not the code that polls.
        let access = self.write();
        async move { Transaction::begin(access.checkout().await?).await }
    }

    /// A pool of sqlx on the same database, for crates that take a `sqlx::Pool`. It has at most four connections and
    /// the limits of this database, is closed with it, and does not name its holders.
    ///
    /// - A `begin` of sqlx 0.9 that is cancelled leaves the transaction open for the next caller: run it in a task
    ///   that nothing cancels.
    /// - On SQLite, its writes wait in SQLite for `database.acquire_timeout` at most. A transaction that writes must
    ///   begin with `BEGIN IMMEDIATE` (`begin_with`). A statement has no time limit.
    #[must_use]
    pub fn sqlx_pool(&self) -> sqlx::Pool<E> {
        let pool = self.0.sqlx_pool.get_or_init(|| self.writes().sqlx_pool());
        pool.clone()
    }

    /// Makes one round trip. On SQLite, it fails if the file is gone or replaced.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        if let Some(file) = self.0.file.get() {
            file.check().await?;
        }
        // Not prepared: SQLite's `PRAGMA` takes effect while it is.
        let probe = sqlx::raw_sql(E::PROBE).fetch_one(self.read());
        probe.await.map(drop)
    }

    /// [Pings](Self::ping) the database at each call, for
    /// [`Health::register_check`](crate::health::Health::register_check).
    pub fn readiness_probe(
        &self,
    ) -> impl Fn() -> BoxFuture<'static, Result<(), sqlx::Error>> + use<E> {
        let database = self.clone();
        move || {
            let database = database.clone();
            Box::pin(async move { database.ping().await })
        }
    }

    pub(crate) fn status(&self) -> BTreeMap<String, PoolStatus> {
        let pools = self.0.pools.iter();
        let pools = pools.map(|pool| (self.qualified(pool.name), pool.status()));
        let mut status: BTreeMap<_, _> = pools.collect();
        if let Some(pool) = self.0.sqlx_pool.get() {
            let size = usize::try_from(pool.size()).unwrap_or(usize::MAX);
            let idle = pool.num_idle().min(size);
            // sqlx counts neither waits nor timeouts.
            let sqlx = PoolStatus {
                max: pool.options().get_max_connections(),
                size,
                idle,
                in_use: size - idle,
                ..PoolStatus::default()
            };
            status.insert(self.qualified("sqlx"), sqlx);
        }
        status
    }

    /// The locations in the code that hold a connection now.
    #[must_use]
    pub fn holders(&self) -> Vec<String> {
        let pools = self.0.pools.iter();
        let callers = pools.flat_map(|pool| pool.status().holders);
        let names = callers.map(|caller| format!("a database connection ({caller})"));
        names.collect()
    }

    /// Gives out no more connections, cancels running statements, waits for connections until the deadline, and closes
    /// them. Returns the locations in the code that still held one.
    pub async fn close(&self, deadline: Instant) -> Vec<String> {
        for pool in &self.0.pools {
            pool.stop_checkouts();
        }
        let mut held = Vec::new();
        let close_sqlx_pool = async {
            if let Some(pool) = self.0.sqlx_pool.get()
                && timeout_at(deadline, pool.close()).await.is_err()
            {
                held.push(format!("connections of sqlx_pool: {}", pool.size()));
            }
        };
        // On SQLite, the last connection to close moves the log into the file. That must be the writer, and
        // no other may close at the same time: each would leave it to the other.
        tokio::join!(close_sqlx_pool, self.writes().wait_for_holders(deadline));
        for pool in &self.0.pools {
            pool.close(deadline).await;
        }
        held.extend(self.holders());
        held
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.settings.name
    }

    /// A name that is unique among the databases of the process. The names of `[database]` have no prefix.
    fn qualified(&self, name: &str) -> String {
        match self.name() {
            "database" => name.to_owned(),
            section => format!("{section}.{name}"),
        }
    }

    fn writes(&self) -> &Arc<Pool<E>> {
        &self.0.pools[self.0.pools.len() - 1]
    }
}

impl<E: Engine> Clone for Database<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
pub(crate) mod tests;
