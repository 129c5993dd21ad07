//! The stored answers, in the table `idempotency`: for `idempotency.retention`, and at most
//! `idempotency.max_answers`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use garde::Validate;
use serde::Deserialize;
use sqlx::migrate::Migrator;

use super::key::Keyed;
use super::{ANSWERS, REPLAYED};
use crate::database::{Database, Engine, Transaction};
use crate::problem::Problem;
use crate::settings::{ByteSize, at_least};
use crate::supervisor::{SpawnError, Supervisor};

/// `[idempotency]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub struct Settings {
    /// How long answers are stored.
    #[garde(custom(at_least("1s")))]
    pub retention: Duration,
    /// The most answers that are stored.
    #[garde(range(min = 1))]
    pub max_answers: u32,
    /// The largest answer that is stored.
    pub answer_limit: ByteSize,
}

const MAINTENANCE_INTERVAL: Duration = Duration::from_mins(1);

/// The stored keys and answers. All clones are the same.
#[derive(Debug)]
pub struct Keys<E: Store> {
    pub(super) database: Database<E>,
    settings: Settings,
    /// The answers at the last count, and those that this process has stored since.
    stored: Arc<AtomicU64>,
}

impl<E: Store> Clone for Keys<E> {
    fn clone(&self) -> Self {
        Self {
            database: self.database.clone(),
            settings: self.settings.clone(),
            stored: Arc::clone(&self.stored),
        }
    }
}

impl<E: Store> Keys<E> {
    /// Stores keys in this database, which needs the [`migrations`](super::migrations).
    #[must_use]
    pub fn new(settings: &Settings, database: Database<E>) -> Self {
        Self {
            database,
            settings: settings.clone(),
            stored: Arc::default(),
        }
    }

    /// Starts the task that removes answers after `idempotency.retention`.
    ///
    /// # Errors
    ///
    /// If the task was started before, or the stop has begun.
    pub fn spawn_maintenance(&self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let keys = self.clone();
        let task = supervisor.every("idempotency", MAINTENANCE_INTERVAL);
        // A stop does not wait for a database that does not answer.
        let task = task.at_start().jitter(MAINTENANCE_INTERVAL / 6);
        let spawned = task.cancel_on_stop().run(move |_| {
            let keys = keys.clone();
            async move { keys.maintain().await }
        });
        spawned.map(drop)
    }

    /// Removes the expired answers, and counts the others, also those of other processes.
    pub(super) async fn maintain(&self) -> Result<(), sqlx::Error> {
        let retention = self.settings.retention.as_secs();
        let before = unix_time().saturating_sub_unsigned(retention);
        let stored = E::remove_and_count(&self.database, before).await?;
        self.stored.store(stored, Ordering::Relaxed);
        ANSWERS.store(stored, Ordering::Relaxed);
        Ok(())
    }

    /// Fails if no other answer can be stored.
    pub(super) fn ensure_room(&self) -> Result<(), Problem> {
        let stored = self.stored.load(Ordering::Relaxed);
        if stored < self.settings.max_answers.into() {
            return Ok(());
        }
        tracing::warn!(
            stored,
            "no room for another answer (idempotency.max_answers)"
        );
        Err(Problem::UNAVAILABLE)
    }

    /// Stores the answer, and returns the response. Fails if it is too large.
    pub(super) async fn store(
        &self,
        transaction: &mut Transaction<E>,
        key: &Keyed,
        response: Response,
    ) -> Result<Response, Problem> {
        let limit = self.settings.answer_limit.0;
        let Some((answer, response)) = Answer::of(key, response, limit).await else {
            tracing::error!(
                limit,
                "an answer is too large to be stored (idempotency.answer_limit)"
            );
            return Err(Problem::INTERNAL);
        };
        E::insert(transaction, key, answer, unix_time()).await?;
        self.stored.fetch_add(1, Ordering::Relaxed);
        Ok(response)
    }
}

/// In seconds since 1970.
fn unix_time() -> i64 {
    let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    time.as_secs().cast_signed()
}

/// A stored answer: a row of the table, without its key.
#[derive(Debug, sqlx::FromRow)]
#[doc(hidden)]
pub struct Answer {
    /// The fingerprint of its request.
    pub(super) request: Vec<u8>,
    status: i32,
    /// `name:value` lines. No value contains a line break.
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Answer {
    /// The answer to store, and the response itself. `None` if it is larger than `limit`, headers included.
    async fn of(key: &Keyed, response: Response, limit: usize) -> Option<(Self, Response)> {
        // These belong to one connection or one moment. A cookie is a secret.
        let not_stored = [
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::DATE,
            header::SET_COOKIE,
            header::TRANSFER_ENCODING,
        ];
        let (parts, body) = response.into_parts();
        let mut head = Vec::new();
        for (name, value) in &parts.headers {
            if !not_stored.contains(name) {
                let name = name.as_str().as_bytes();
                head.extend([name, b":", value.as_bytes(), b"\n"].concat());
            }
        }
        let body_limit = limit.checked_sub(head.len())?;
        let body = axum::body::to_bytes(body, body_limit).await.ok()?;
        let answer = Self {
            request: key.request.to_vec(),
            status: parts.status.as_u16().into(),
            head,
            body: body.to_vec(),
        };
        Some((answer, Response::from_parts(parts, Body::from(body))))
    }

    /// The response, with the header [`REPLAYED`]; `None` if the row is malformed.
    pub(super) fn into_response(self) -> Option<Response> {
        let status = u16::try_from(self.status).ok()?;
        let mut response = Response::builder().status(status).header(REPLAYED, "true");
        let lines = self.head.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            response = response.header(&line[..colon], &line[colon + 1..]);
        }
        response.body(Body::from(self.body)).ok()
    }
}

/// An engine that can store answers: every [`Engine`]. The trait is sealed, and its hidden items are private to
/// this crate.
pub trait Store: Engine {
    /// The migrations of the table.
    #[doc(hidden)]
    fn migrations() -> &'static Migrator;

    #[doc(hidden)]
    fn find(
        transaction: &mut Transaction<Self>,
        key: &Keyed,
    ) -> impl Future<Output = Result<Option<Answer>, sqlx::Error>> + Send;

    #[doc(hidden)]
    fn insert(
        transaction: &mut Transaction<Self>,
        key: &Keyed,
        answer: Answer,
        now: i64,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Removes the answers that were stored before this time, and counts the others.
    #[doc(hidden)]
    fn remove_and_count(
        database: &Database<Self>,
        before: i64,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

/// The statements have the same text for each engine, but not the same types.
macro_rules! store {
    ($feature:literal, $engine:ty, $directory:literal) => {
        #[cfg(feature = $feature)]
        impl Store for $engine {
            fn migrations() -> &'static Migrator {
                static MIGRATIONS: Migrator = sqlx::migrate!($directory);
                &MIGRATIONS
            }

            async fn find(
                transaction: &mut Transaction<Self>,
                key: &Keyed,
            ) -> Result<Option<Answer>, sqlx::Error> {
                let query = sqlx::query_as(
                    "SELECT request, status, head, body FROM idempotency
                     WHERE route = $1 AND caller = $2 AND key = $3",
                );
                let query = query.bind(&key.route).bind(&*key.caller.0).bind(&key.key);
                query.fetch_optional(&mut **transaction).await
            }

            async fn insert(
                transaction: &mut Transaction<Self>,
                key: &Keyed,
                answer: Answer,
                now: i64,
            ) -> Result<(), sqlx::Error> {
                let query = sqlx::query(
                    "INSERT INTO idempotency (route, caller, key, request, status, head, body, kept_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                );
                let query = query.bind(&key.route).bind(&*key.caller.0).bind(&key.key);
                let query = query.bind(answer.request).bind(answer.status);
                let query = query.bind(answer.head).bind(answer.body).bind(now);
                query.execute(&mut **transaction).await.map(drop)
            }

            async fn remove_and_count(
                database: &Database<Self>,
                before: i64,
            ) -> Result<u64, sqlx::Error> {
                loop {
                    // In batches: other writers wait for each statement.
                    let query = sqlx::query(
                        "DELETE FROM idempotency WHERE (route, caller, key) IN (
                             SELECT route, caller, key FROM idempotency
                             WHERE kept_at < $1 ORDER BY kept_at LIMIT 1000
                         )",
                    );
                    let removed = query.bind(before).execute(database.write()).await?;
                    if removed.rows_affected() == 0 {
                        break;
                    }
                }
                let query = sqlx::query_scalar("SELECT count(*) FROM idempotency");
                let count: i64 = query.fetch_one(database.read()).await?;
                Ok(count.cast_unsigned())
            }
        }
    };
}

store!("sqlite", sqlx::Sqlite, "migrations/sqlite");
store!("postgres", sqlx::Postgres, "migrations/postgres");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Reference, Sources, load};

    #[test]
    fn every_key_is_read_and_described() {
        #[derive(Deserialize, Validate)]
        struct Own {
            #[garde(dive)]
            idempotency: Settings,
        }

        let reference = Reference::new(&[crate::idempotency::SETTINGS]);
        let Ok(loaded) = load::<Own>(&reference, &Sources::default()) else {
            panic!("the defaults are not valid");
        };
        let read: Vec<_> = loaded.entries.iter().map(|entry| &*entry.key).collect();
        let described: Vec<_> = reference.keys().collect();
        assert_eq!(described, read);
        for key in described {
            assert!(!reference.meaning(key).is_empty(), "no comment above {key}");
        }
    }
}
