//! A database: pooled connections with limits, migrations, and a close within a deadline.
//!
//! ```ignore
//! sqlx::query_as("SELECT id, url FROM targets").fetch_all(database.read()).await?;
//!
//! let mut transaction = database.begin().await?;
//! sqlx::query("UPDATE …").execute(&mut *transaction).await?;
//! sqlx::query("INSERT …").execute(&mut *transaction).await?;
//! transaction.commit().await?;
//! ```
//!
//! - No caller waits without a limit: for a connection, for a statement, on a dead link, or at the stop.
//! - A connection carries no state from its last caller to the next: open transactions are rolled back,
//!   and running statements are cancelled.
//! - A service does not run on a schema that it does not know.
//!
//! On SQLite, reads share several connections that cannot write; writes and transactions take turns on one
//! connection that can. They wait for it in the pool, and not in the database, where they would fail as busy.
//!
//! The code is the same for both engines, except for `sqlite.rs` and `postgres.rs`.

mod access;
mod engine;
mod error_kind;
mod errors;
mod lease;
mod loan;
mod migrations;
mod numbers;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::migrate::{Migration, Migrator};
use tokio::time::{Instant, sleep};

pub use access::{Access, Transaction};
pub use engine::Engine;
pub use error_kind::ErrorKind;
pub use errors::{Error, log_safe_message};
pub use lease::Lease;
pub use migrations::RESERVED_VERSIONS;
pub use settings::{OnStart, Settings, UnknownMigrations, Url};

use crate::metrics::pools::Numbers;
use crate::supervisor::{SpawnError, Supervisor};
use engine::Pools;
use pool::{Limits, Pool};

/// The settings of `[database]` with their defaults, for [`Service::settings`](crate::Service::settings).
pub const SETTINGS: &str = include_str!("../../config/database.toml");

/// The settings of another database, in a section of this name.
#[must_use]
pub fn settings_named(section: &str) -> String {
    let named = SETTINGS.replace("[database]", &format!("[{section}]"));
    named.replace("\ndatabase = ", &format!("\n{section} = "))
}

/// A database: its connection pools and its migrations. All clones are the same.
pub struct Database<E: Engine> {
    reads: Pool<E>,
    writes: Pool<E>,
    storage: Arc<OnceLock<E::Storage>>,
    settings: Arc<Settings<E>>,
    migrations: Arc<[Migration]>,
}

/// The section of the first database.
const DEFAULT_NAME: &str = "database";

/// The interval of the maintenance of the pools.
const MAINTENANCE: Duration = Duration::from_secs(1);

/// The pause after the first failed attempt to connect, and the longest one.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

impl<E: Engine> Database<E> {
    /// A database that is not connected yet. `migrations` are those of the service, with versions outside of
    /// [`RESERVED_VERSIONS`], and those of the parts of the machinery that it uses, such as `idempotency::migrations()`.
    ///
    /// # Errors
    ///
    /// If the URL has options that the engine does not know.
    pub fn new(settings: &Settings<E>, migrations: &[&Migrator]) -> Result<Self, Error> {
        let limits = Limits {
            connections: settings.max_connections,
            acquire: settings.acquire_timeout,
            ping: settings.ping(),
            statement: E::client_timeout(settings.statement_timeout, settings.ping()),
            lifetime: settings.max_lifetime,
            hold: settings.hold_warning,
        };
        let pools = E::pools(&settings.target());
        let [reads, writes] = match pools.map_err(|cause| settings.cannot_open(cause))? {
            Pools::One(options) => {
                let pool = Pool::new(options, limits);
                [pool.clone(), pool]
            }
            Pools::ReadersAndWriter { readers, writer } => {
                let one = Limits {
                    connections: 1,
                    ..limits.clone()
                };
                [Pool::new(readers, limits), Pool::new(writer, one)]
            }
        };
        Ok(Self {
            reads,
            writes,
            storage: Arc::default(),
            settings: Arc::new(settings.clone()),
            migrations: migrations::merged(migrations).into(),
        })
    }

    /// Connects to the database. If it does not answer, this retries with a backoff, or fails, as
    /// `database.on_start` says. A SQLite file that does not exist is created if `database.migrate_on_start`
    /// is set.
    ///
    /// # Errors
    ///
    /// If the database answers, and cannot be used: wrong credentials, or a version that is too old.
    pub async fn connect(&self) -> Result<(), Error> {
        if !self.settings.migrate_on_start && !self.exists() {
            let url = self.url();
            return Err(Error::Missing { url });
        }
        self.connect_or_create().await
    }

    /// Connects, and creates a SQLite file that does not exist, whatever the settings say: for `migrate`.
    pub(crate) async fn connect_or_create(&self) -> Result<(), Error> {
        let cannot_open = |cause| self.settings.cannot_open(cause);
        let storage = E::open_storage(&self.settings.target()).map_err(cannot_open)?;
        _ = self.storage.set(storage);
        let [mut pause, longest] = PAUSES;
        let mut logged = None;
        loop {
            let Err(cause) = self.check_server_version().await else {
                return Ok(());
            };
            let error = cannot_open(cause);
            if !error.is_transient(E::ERRORS) || self.settings.on_start == OnStart::Fail {
                return Err(error);
            }
            if logged.is_none_or(|logged: Instant| logged.elapsed() >= longest) {
                logged = Some(Instant::now());
                tracing::warn!(cause = %error, "waiting for the database");
            }
            sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Connects, and fails if the version of the server is too old.
    async fn check_server_version(&self) -> Result<(), sqlx::Error> {
        let mut lease = self.write().checkout().await?;
        E::check_version(&E::version(&mut lease).await?)
    }

    /// Whether the database exists, as far as that is known without a connection.
    pub(crate) fn exists(&self) -> bool {
        E::exists(self.settings.url.expose())
    }

    /// Runs one statement that only reads.
    #[must_use]
    #[track_caller]
    pub fn read(&self) -> Access<'_, E> {
        Access::to(&self.reads)
    }

    /// Runs one statement that writes.
    #[must_use]
    #[track_caller]
    pub fn write(&self) -> Access<'_, E> {
        Access::to(&self.writes)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// If no connection is free within `database.acquire_timeout`, or the database does not answer.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction<E>, sqlx::Error>> + Send {
        // The location in the log is that of the caller, not of the code that polls.
        Access::to(&self.writes).begin()
    }

    /// Makes one round trip. On SQLite, it checks that the file is still there.
    ///
    /// # Errors
    ///
    /// If the database does not answer, or the file is gone.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        if let Some(storage) = self.storage.get() {
            E::check_storage(storage).await?;
        }
        E::probe(&mut self.read().checkout().await?).await
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

    /// The files that the pools may have open, at most.
    pub(crate) fn max_files(&self) -> usize {
        let connections = usize::try_from(self.settings.max_connections).unwrap_or(usize::MAX);
        // SQLite opens the database, its log, and its shared memory.
        connections.saturating_add(1).saturating_mul(3)
    }

    /// Starts the task that replaces old connections, and logs callers that hold one for too long.
    ///
    /// # Errors
    ///
    /// If the task was started before, or the stop has begun.
    pub fn spawn_maintenance(&self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let database = self.clone();
        let task = supervisor.every(&self.qualified("connections"), MAINTENANCE);
        let spawned = task.run(move |_| {
            let database = database.clone();
            async move {
                for pool in database.pools().into_values() {
                    pool.maintain().await;
                }
                Ok::<_, Infallible>(())
            }
        });
        spawned.map(drop)
    }

    /// The numbers of each pool, by its name.
    pub(crate) fn numbers(&self) -> BTreeMap<String, Numbers> {
        let pools = self.pools().into_iter();
        let pools = pools.map(|(name, pool)| (self.qualified(name), pool.numbers()));
        pools.collect()
    }

    /// The locations in the code that hold a connection now.
    #[must_use]
    pub fn holders(&self) -> Vec<String> {
        let loans = self.pools().into_values().flat_map(Pool::loans);
        loans.map(|loan| loan.to_string()).collect()
    }

    /// Closes the pools: gives out no more connections, cancels running statements, and waits for connections
    /// until the deadline. Returns the locations in the code that still held one.
    pub async fn close(&self, deadline: Instant) -> Vec<String> {
        let mut out = Vec::new();
        for pool in self.pools().into_values() {
            pool.shut();
        }
        // Of two connections to SQLite that close at the same moment, each leaves the log to the other:
        // whoever writes comes to the end first, and the connection that can write closes last.
        self.writes.returned(deadline).await;
        for pool in self.pools().into_values() {
            let loans = pool.close(deadline).await;
            out.extend(loans.iter().map(ToString::to_string));
        }
        if out.is_empty() {
            self.storage
                .get()
                .inspect(|storage| E::warn_of_leftovers(storage));
        }
        out
    }

    /// The name of the section that configures this database.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// A name that another database of the process does not have: those of `[database]` have no prefix.
    fn qualified(&self, name: &str) -> String {
        match self.name() {
            DEFAULT_NAME => name.to_owned(),
            own => format!("{own}.{name}"),
        }
    }

    fn pools(&self) -> BTreeMap<&'static str, &Pool<E>> {
        E::POOLS
            .into_iter()
            .zip([&self.reads, &self.writes])
            .collect()
    }
}

impl<E: Engine> Clone for Database<E> {
    fn clone(&self) -> Self {
        Self {
            reads: self.reads.clone(),
            writes: self.writes.clone(),
            storage: Arc::clone(&self.storage),
            settings: Arc::clone(&self.settings),
            migrations: Arc::clone(&self.migrations),
        }
    }
}

impl<E: Engine> fmt::Debug for Database<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("url", &self.settings.url)
            .field("pools", &self.numbers())
            .finish_non_exhaustive()
    }
}

/// What holds for every engine, tested on SQLite.
#[cfg(all(test, feature = "sqlite"))]
#[path = "tests"]
pub(crate) mod on_sqlite {
    /// The engine of the suite.
    type E = sqlx::Sqlite;

    pub(crate) mod suite;
}

/// The same suite on Postgres.
#[cfg(all(test, feature = "postgres"))]
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "the engine differs")]
pub(crate) mod on_postgres {
    /// The engine of the suite.
    type E = sqlx::Postgres;

    pub(crate) mod suite;
}
