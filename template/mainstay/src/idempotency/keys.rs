//! The stored answers, in the table `idempotency`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use futures_util::TryFutureExt;
use futures_util::future::BoxFuture;
use garde::Validate;
use serde::Deserialize;
use sqlx::migrate::Migrator;

use super::key::Keyed;
use super::{ANSWERS, REPLAYED};
use crate::database::{Database, Engine, Migrations, Transaction};
use crate::problem::Problem;
use crate::settings::{ByteSize, at_least, whole_number};
use crate::supervisor::{SpawnError, Supervisor};

/// `[idempotency]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[allow(missing_docs, reason = "the keys are described beside their defaults")]
pub struct Settings {
    #[garde(custom(at_least("1s")))]
    pub retention: Duration,
    #[serde(deserialize_with = "whole_number::<1, 4_294_967_295, _, _>")]
    pub max_answers: u32,
    pub answer_limit: ByteSize,
}

const MAINTENANCE_INTERVAL: Duration = Duration::from_mins(1);

/// The stored keys and answers. Clones share their state.
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
    pub fn spawn_maintenance(&self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let keys = self.clone();
        let task = supervisor.every("idempotency", MAINTENANCE_INTERVAL);
        // A stop does not wait for a database that does not answer.
        let task = task.at_start().jitter(MAINTENANCE_INTERVAL / 6);
        task.cancel_on_stop().run(move |_| {
            let keys = keys.clone();
            async move { keys.maintain().await }
        })
    }

    /// Removes the expired answers, and counts the others, also those of other processes.
    pub(super) async fn maintain(&self) -> Result<(), sqlx::Error> {
        let retention = self.settings.retention.as_secs();
        let before = unix_time().saturating_sub_unsigned(retention);
        let stored = E::remove_and_count(&self.database, before).await?;
        let stored = stored.cast_unsigned();
        self.stored.store(stored, Ordering::Relaxed);
        ANSWERS.store(stored, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn ensure_room(&self) -> Result<(), Problem> {
        let stored = self.stored.load(Ordering::Relaxed);
        if stored < self.settings.max_answers.into() {
            return Ok(());
        }
        tracing::warn!(stored, "idempotency.max_answers is reached");
        Err(Problem::UNAVAILABLE)
    }

    /// Stores the answer, and returns the response. Fails if it is too large, headers included.
    pub(super) async fn store(
        &self,
        transaction: &mut Transaction<E>,
        key: &Keyed,
        response: Response,
    ) -> Result<Response, Problem> {
        let (parts, body) = response.into_parts();
        let mut head = Vec::new();
        for (name, value) in &parts.headers {
            // A cookie is a secret.
            if name != header::SET_COOKIE {
                let name = name.as_str().as_bytes();
                head.extend([name, b":", value.as_bytes(), b"\n"].concat());
            }
        }
        let limit = self.settings.answer_limit.0;
        let body = axum::body::to_bytes(body, limit).await.ok();
        let Some(body) = body.filter(|body| head.len() + body.len() <= limit) else {
            tracing::error!(limit, "an answer exceeds idempotency.answer_limit");
            return Err(Problem::INTERNAL);
        };
        let answer = Answer {
            request: key.request.to_vec(),
            status: parts.status.as_u16().into(),
            head,
            body: body.to_vec(),
        };
        E::insert(transaction, key, answer).await?;
        self.stored.fetch_add(1, Ordering::Relaxed);
        Ok(Response::from_parts(parts, Body::from(body)))
    }
}

/// In seconds since 1970.
fn unix_time() -> i64 {
    let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    time.as_secs().cast_signed()
}

/// A stored answer: a row of the table, without its key.
#[derive(Debug)]
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

/// An engine that can store answers: every [`Engine`]. The trait is sealed.
pub trait Store: Engine {
    #[doc(hidden)]
    fn migrations() -> &'static Migrator;

    /// Takes the lock of this key until the transaction ends. Returns false if another one holds it.
    #[doc(hidden)]
    fn claim<'a>(on: &'a mut Transaction<Self>, key: &'a Keyed) -> Done<'a, bool>;

    #[doc(hidden)]
    fn find<'a>(on: &'a mut Transaction<Self>, key: &'a Keyed) -> Done<'a, Option<Answer>>;

    #[doc(hidden)]
    fn insert<'a>(on: &'a mut Transaction<Self>, key: &'a Keyed, answer: Answer) -> Done<'a, ()>;

    /// Removes the answers that were stored before this time, and counts the others.
    #[doc(hidden)]
    fn remove_and_count(database: &Database<Self>, before: i64) -> Done<'_, i64>;
}

type Done<'a, T> = BoxFuture<'a, Result<T, sqlx::Error>>;

/// The statements have the same text for each engine, but not the same types.
macro_rules! store {
    ($feature:literal, $engine:ty, $directory:tt, $claim:literal) => {
        #[cfg(feature = $feature)]
        impl Store for $engine {
            fn migrations() -> &'static Migrator {
                static MIGRATIONS: Migrations = crate::migrations!($directory);
                &MIGRATIONS
            }

            fn claim<'a>(on: &'a mut Transaction<Self>, key: &'a Keyed) -> Done<'a, bool> {
                let query = sqlx::query_scalar($claim).bind(key.lock());
                Box::pin(query.fetch_one(&mut **on))
            }

            fn find<'a>(on: &'a mut Transaction<Self>, key: &'a Keyed) -> Done<'a, Option<Answer>> {
                let query = sqlx::query_as(
                    "SELECT request, status, head, body FROM idempotency
                     WHERE route = $1 AND caller = $2 AND key = $3",
                );
                let query = query.bind(&key.route).bind(&*key.caller.0).bind(&key.key);
                let found = query.fetch_optional(&mut **on);
                Box::pin(found.map_ok(|row| {
                    row.map(|(request, status, head, body)| Answer { request, status, head, body })
                }))
            }

            fn insert<'a>(
                on: &'a mut Transaction<Self>,
                key: &'a Keyed,
                answer: Answer,
            ) -> Done<'a, ()> {
                let query = sqlx::query(
                    "INSERT INTO idempotency (route, caller, key, request, status, head, body, kept_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                );
                let query = query.bind(&key.route).bind(&*key.caller.0).bind(&key.key);
                let query = query.bind(answer.request).bind(answer.status);
                let query = query.bind(answer.head).bind(answer.body).bind(unix_time());
                Box::pin(query.execute(&mut **on).map_ok(drop))
            }

            fn remove_and_count(database: &Database<Self>, before: i64) -> Done<'_, i64> {
                // In batches: other writers wait for each statement.
                let remove = "DELETE FROM idempotency WHERE (route, caller, key) IN (
                        SELECT route, caller, key FROM idempotency
                        WHERE kept_at < $1 ORDER BY kept_at LIMIT 1000
                    )";
                Box::pin(async move {
                    let mut removed = 1;
                    while removed > 0 {
                        let query = sqlx::query(remove).bind(before);
                        removed = query.execute(database.write()).await?.rows_affected();
                    }
                    let query = sqlx::query_scalar("SELECT count(*) FROM idempotency");
                    query.fetch_one(database.read()).await
                })
            }
        }
    };
}

store!(
    "sqlite",
    sqlx::Sqlite,
    "$CARGO_MANIFEST_DIR/migrations/sqlite",
    // One transaction writes at a time.
    "SELECT $1 IS NOT NULL"
);
store!(
    "postgres",
    sqlx::Postgres,
    "$CARGO_MANIFEST_DIR/migrations/postgres",
    // One lock for each schema; a server keeps those of its databases apart. A wait would occupy a connection.
    "SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || ' ' || $1, 0))"
);
