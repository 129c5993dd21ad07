//! The database: connections with limits, the migrations that it needs, and a close that loses
//! nothing.
//!
//! Whatever differs between engines is in one file beside this one; everything else, the service's
//! own queries included, is the same for SQLite and Postgres. `access.rs` shows how queries are made.
//!
//! - No caller waits for ever: not for a connection, not for a statement, not when the link to the
//!   server is dead, and not at the stop.
//! - A connection that comes from here has nothing left over from the one who had it before.
//! - A service never runs on a schema that it was not made for.

mod access;
mod engine;
mod errors;
mod lease;
mod loan;
mod migrations;
mod numbers;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod refusal;
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
pub use errors::{Error, log_safe_message};
pub use lease::Lease;
pub use migrations::RESERVED_NUMBERS;
pub use refusal::Refusal;
pub use settings::{OnStart, Settings, UnknownMigrations, Url};

use crate::metrics::pools::Numbers;
use crate::supervisor::{SpawnError, Supervisor};
use engine::Pools;
use pool::{Limits, Pool};

/// The reference of `[database]`, for [`Service::settings`](crate::Service::settings).
pub const SETTINGS: &str = include_str!("../../config/database.toml");

/// The reference of a database beside the first one, whose section has this name.
#[must_use]
pub fn settings_named(section: &str) -> String {
    let named = SETTINGS.replace("[database]", &format!("[{section}]"));
    named.replace("\ndatabase = ", &format!("\n{section} = "))
}

/// A database: connections to it, and its migrations. All clones are the same.
pub struct Database<E: Engine> {
    reads: Pool<E>,
    writes: Pool<E>,
    storage: Arc<OnceLock<E::Storage>>,
    settings: Arc<Settings<E>>,
    migrations: Arc<[Migration]>,
}

/// How often connections are looked after.
const MAINTENANCE: Duration = Duration::from_secs(1);

/// The pause after the first vain attempt to reach the database, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

impl<E: Engine> Database<E> {
    /// A database that is not connected yet. The migrations are the service's, and those of the parts of
    /// the machinery that it uses, such as `idempotency::migrations()`.
    ///
    /// # Errors
    ///
    /// When the URL has options that the engine does not take.
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

    /// Waits until the database can be reached, unless the settings want that to be an error as well. A
    /// file that is missing is made, if this start may make its schema too.
    ///
    /// # Errors
    ///
    /// When it refuses this user, or is not what it should be: that does not get better by itself.
    pub async fn connect(&self) -> Result<(), Error> {
        if !self.settings.migrate_on_start && !self.exists() {
            let url = self.url();
            return Err(Error::Missing { url });
        }
        self.connect_or_create().await
    }

    /// The same, whatever the settings say of a file that is missing: for `migrate`.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn connect_or_create(&self) -> Result<(), Error> {
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

    /// Connects, and refuses a server that cannot be used.
    async fn check_server_version(&self) -> Result<(), sqlx::Error> {
        let mut lease = self.write().checkout().await?;
        E::check_version(&E::version(&mut lease).await?)
    }

    /// Whether the database exists, as far as that is known without a connection.
    #[must_use]
    pub fn exists(&self) -> bool {
        E::exists(self.settings.url.expose())
    }

    /// For one statement that only reads.
    #[must_use]
    #[track_caller]
    pub fn read(&self) -> Access<'_, E> {
        Access::to(&self.reads)
    }

    /// For one statement that writes.
    #[must_use]
    #[track_caller]
    pub fn write(&self) -> Access<'_, E> {
        Access::to(&self.writes)
    }

    /// Begins a transaction, for statements that belong together.
    ///
    /// # Errors
    ///
    /// When there is no connection in time, or the database does not answer.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction<E>, sqlx::Error>> + Send {
        // The place is that of the caller, not of whoever polls.
        Access::to(&self.writes).begin()
    }

    /// One round trip, to see whether it answers; on SQLite, whether the file is there and can be read.
    ///
    /// # Errors
    ///
    /// When it does not, or is not.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        if let Some(storage) = self.storage.get() {
            E::check_storage(storage).await?;
        }
        E::probe(&mut self.read().checkout().await?).await
    }

    /// Makes a [ping](Self::ping) whenever it is called, for a health check.
    pub fn readiness_probe(
        &self,
    ) -> impl Fn() -> BoxFuture<'static, Result<(), sqlx::Error>> + use<E> {
        let database = self.clone();
        move || {
            let database = database.clone();
            Box::pin(async move { database.ping().await })
        }
    }

    /// The files that it may have open, at most.
    #[must_use]
    pub fn files(&self) -> usize {
        let connections = usize::try_from(self.settings.max_connections).unwrap_or(usize::MAX);
        // SQLite has the database, its log, and something shared.
        connections.saturating_add(1).saturating_mul(3)
    }

    /// Has its connections looked after: those that are too old, and those that somebody keeps for
    /// too long.
    ///
    /// # Errors
    ///
    /// When there is a task of this name already, or the stop has begun.
    pub fn spawn_maintenance(&self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let database = self.clone();
        let spawned = supervisor.every("connections", MAINTENANCE).run(move |_| {
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
    pub(crate) fn numbers(&self) -> BTreeMap<&'static str, Numbers> {
        let pools = self.pools().into_iter();
        pools.map(|(name, pool)| (name, pool.numbers())).collect()
    }

    /// Who has a connection just now: the places in the code.
    #[must_use]
    pub fn holders(&self) -> Vec<String> {
        let loans = self.pools().into_values().flat_map(Pool::loans);
        loans.map(|loan| loan.to_string()).collect()
    }

    /// Lends no more connections, ends what is still running, and closes all of them; says what was
    /// still out at the deadline.
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
