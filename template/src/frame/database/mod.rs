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
mod errors;
mod lease;
mod loan;
mod migrations;
mod numbers;
mod pool;
mod settings;
mod statement;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

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

pub use access::{Access, Transaction};
pub use engine::{Db, skip_locked};
pub use errors::{Error, Refusal, counted, told};
pub use lease::Lease;
pub use numbers::Numbers;
pub use settings::{OnStart, Settings, Unknown, Url};

use super::supervisor::{Refused, Supervisor};
use pool::Pool;

type Connection = <Db as sqlx::Database>::Connection;
type Options = <Connection as sqlx::Connection>::Options;
type QueryResult = <Db as sqlx::Database>::QueryResult;
type Row = <Db as sqlx::Database>::Row;
type Prepared = <Db as sqlx::Database>::Statement;
type TypeInfo = <Db as sqlx::Database>::TypeInfo;

/// The service's database.
#[derive(Debug, Clone)]
pub struct Database {
    reads: Pool,
    writes: Pool,
    place: engine::Place,
    settings: Arc<Settings>,
}

/// How often connections are looked after.
const TENDING: Duration = Duration::from_secs(1);

/// The pause after the first vain attempt to reach the database, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

impl Database {
    /// Everything that is needed to connect, which happens when the first connection is asked for.
    ///
    /// # Errors
    ///
    /// When the URL is none, or the place that it names cannot be.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let [reads, writes] =
            engine::pools(settings).map_err(|cause| settings.cannot_open(cause))?;
        let place = engine::Place::of(settings).map_err(|cause| settings.cannot_open(cause))?;
        let settings = Arc::new(settings.clone());
        Ok(Self {
            reads,
            writes,
            place,
            settings,
        })
    }

    /// Waits until there is a database to work with: until it can be reached, unless the settings
    /// want that to be an error as well.
    ///
    /// # Errors
    ///
    /// When it refuses this user, or is not what it should be: that does not get better by itself.
    pub async fn reach(&self) -> Result<(), Error> {
        let [mut pause, longest] = PAUSES;
        let mut told = None;
        loop {
            let Err(cause) = self.greet().await else {
                return Ok(());
            };
            let error = self.settings.cannot_open(cause);
            if !error.may_pass() || self.settings.on_start == OnStart::Fail {
                return Err(error);
            }
            if told.is_none_or(|told: Instant| told.elapsed() >= longest) {
                told = Some(Instant::now());
                tracing::warn!(cause = %error, "waiting for the database");
            }
            sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// The first words with the database: whether it is one that can be used.
    async fn greet(&self) -> Result<(), sqlx::Error> {
        let version: String = sqlx::query_scalar(engine::VERSION)
            .fetch_one(self.write())
            .await?;
        engine::accept(&version)
    }

    /// Whether there is a database to connect to, as far as that can be told without making one.
    #[must_use]
    pub fn exists(settings: &Settings) -> bool {
        engine::exists(settings.url.expose())
    }

    /// Refuses a database that is not there, where a start may not make its schema either.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn may_start(settings: &Settings) -> Result<(), Error> {
        if settings.migrate_on_start || Self::exists(settings) {
            return Ok(());
        }
        let url = settings.url.shown().to_owned();
        Err(Error::Missing { url })
    }

    /// For one statement that only reads.
    #[must_use]
    #[track_caller]
    pub fn read(&self) -> Access<'_> {
        Access::to(&self.reads)
    }

    /// For one statement that writes.
    #[must_use]
    #[track_caller]
    pub fn write(&self) -> Access<'_> {
        Access::to(&self.writes)
    }

    /// Begins a transaction, for statements that belong together.
    ///
    /// # Errors
    ///
    /// When there is no connection in time, or the database does not answer.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction, sqlx::Error>> + Send {
        // The place is that of the caller, not of whoever polls.
        Access::to(&self.writes).begin()
    }

    /// One round trip, to see whether it answers; on SQLite, whether the file is there and can be read.
    ///
    /// # Errors
    ///
    /// When it does not, or is not.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        self.place.look().await?;
        engine::ask(&mut self.read().lend().await?).await
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
    pub fn tended_by(&self, supervisor: &Supervisor) -> Result<(), Refused> {
        let database = self.clone();
        let tending = supervisor.every("connections", TENDING).run(move |_| {
            let database = database.clone();
            async move {
                for pool in database.pools().into_values() {
                    pool.tend().await;
                }
                Ok::<_, Infallible>(())
            }
        });
        tending.map(drop)
    }

    /// What has been going on.
    #[must_use]
    pub fn numbers(&self) -> BTreeMap<&'static str, Numbers> {
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
    pub async fn close(&self, within: Duration) -> Vec<String> {
        let deadline = Instant::now() + within;
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
            self.place.tell_of_leftovers();
        }
        out
    }

    fn pools(&self) -> BTreeMap<&'static str, &Pool> {
        engine::POOLS
            .into_iter()
            .zip([&self.reads, &self.writes])
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
