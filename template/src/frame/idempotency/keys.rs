//! The answers that are kept, in the table `idempotency`: for as long as `idempotency.retention`, and
//! not more of them than `idempotency.max_answers`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::answer::Answer;
use super::key::Keyed;
use super::{Settings, numbers};
use crate::frame::database::{Database, Refusal, Transaction};
use crate::frame::problem::Problem;
use crate::frame::supervisor::{Refused, Supervisor};

/// The keys that clients have sent, with the answers that they were given.
#[derive(Debug, Clone)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    settings: Settings,
    /// As many as when they were last counted, and those that were added here since.
    kept: AtomicU64,
}

/// How often answers that have been kept for long enough are looked for.
const EVERY: Duration = Duration::from_mins(1);

/// The most of them that go at once: others want to write meanwhile.
const BATCH: u64 = 1000;

impl Keys {
    #[must_use]
    pub fn new(settings: &Settings, database: Database) -> Self {
        Self(Arc::new(Inner {
            database,
            settings: settings.clone(),
            kept: AtomicU64::new(0),
        }))
    }

    /// Has answers removed that have been kept for long enough.
    ///
    /// # Errors
    ///
    /// When there is a task of this name already, or the stop has begun.
    pub fn tended_by(&self, supervisor: &Supervisor) -> Result<(), Refused> {
        let keys = self.clone();
        let task = supervisor.every("idempotency", EVERY);
        // A stop does not wait for a database that does not answer.
        let task = task.at_start().jitter(EVERY / 6).gives_way();
        let tending = task.run(move |_| {
            let keys = keys.clone();
            async move { keys.tend().await }
        });
        tending.map(drop)
    }

    async fn tend(&self) -> Result<(), sqlx::Error> {
        while self.forget_batch().await? == BATCH {}
        self.count().await
    }

    /// Removes some of the answers that have been kept for long enough, and says how many. One process
    /// does that at a time.
    pub(super) async fn forget_batch(&self) -> Result<u64, sqlx::Error> {
        let retention = i64::try_from(self.0.settings.retention.as_secs()).unwrap_or(i64::MAX);
        let mut transaction = self.0.database.begin().await?;
        if !transaction
            .claim("idempotency: what has been kept for long enough")
            .await?
        {
            return Ok(0);
        }
        let query = sqlx::query(
            "DELETE FROM idempotency WHERE (route, caller, key) IN (
                 SELECT route, caller, key FROM idempotency
                 WHERE kept_at < $1 ORDER BY kept_at LIMIT $2
             )",
        );
        let query = query
            .bind(now().saturating_sub(retention))
            .bind(BATCH.cast_signed());
        let removed = query.execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(removed)
    }

    /// Looks how many there are, those of other processes among them.
    pub(super) async fn count(&self) -> Result<(), sqlx::Error> {
        let query = sqlx::query_scalar("SELECT count(*) FROM idempotency");
        let kept: i64 = query.fetch_one(self.0.database.read()).await?;
        let kept = kept.cast_unsigned();
        self.0.kept.store(kept, Ordering::Relaxed);
        numbers::are_kept(kept);
        Ok(())
    }

    pub(super) fn database(&self) -> &Database {
        &self.0.database
    }

    pub(super) fn answer_limit(&self) -> usize {
        self.0.settings.answer_limit.0
    }

    /// Whether another answer can be kept.
    pub(super) fn have_room(&self) -> Result<(), Problem> {
        let (kept, most) = (
            self.0.kept.load(Ordering::Relaxed),
            self.0.settings.max_answers,
        );
        if kept < most.into() {
            return Ok(());
        }
        tracing::warn!(kept, "no room for another answer (idempotency.max_answers)");
        Err(Problem::UNAVAILABLE)
    }

    /// The request that a key belongs to, and its answer.
    pub(super) async fn recall(
        &self,
        transaction: &mut Transaction,
        key: &Keyed,
    ) -> Result<Option<([u8; 32], Answer)>, Problem> {
        let query = sqlx::query_as(
            "SELECT request, status, head, body FROM idempotency
             WHERE route = $1 AND caller = $2 AND key = $3",
        );
        let query = query.bind(&key.route).bind(&*key.caller.0).bind(&key.key);
        let row: Option<Row> = query.fetch_optional(&mut **transaction).await?;
        row.map(|row| {
            row.read().ok_or_else(|| {
                tracing::error!(route = key.route, "an answer that was kept cannot be read");
                Problem::INTERNAL
            })
        })
        .transpose()
    }

    /// Keeps an answer, unless somebody else has done that for this key.
    pub(super) async fn keep(
        &self,
        transaction: &mut Transaction,
        key: &Keyed,
        answer: &Answer,
    ) -> Result<bool, Problem> {
        let query = sqlx::query(
            "INSERT INTO idempotency (route, caller, key, request, status, head, body, kept_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        );
        let query = query
            .bind(&key.route)
            .bind(&*key.caller.0)
            .bind(&key.key)
            .bind(&key.request[..])
            .bind(i32::from(answer.status.as_u16()))
            .bind(answer.head())
            .bind(&answer.body[..])
            .bind(now());
        match query.execute(&mut **transaction).await {
            Ok(_) => {
                self.0.kept.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(error) if matches!(Refusal::of(&error), Refusal::Taken { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What is in the table for a key.
#[derive(sqlx::FromRow)]
struct Row {
    request: Vec<u8>,
    status: i32,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Row {
    fn read(self) -> Option<([u8; 32], Answer)> {
        let request = self.request.try_into().ok()?;
        let answer = Answer::read(self.status, &self.head, self.body)?;
        Some((request, answer))
    }
}

/// In seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
