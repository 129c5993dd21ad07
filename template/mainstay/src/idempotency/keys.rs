//! The stored answers, in the table `idempotency`: for `idempotency.retention`, and at most
//! `idempotency.max_answers`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::answer::Answer;
use super::key::Keyed;
use super::store::{Row, Store};
use super::{Settings, numbers};
use crate::database::{Database, ErrorKind, Transaction};
use crate::problem::Problem;
use crate::supervisor::{SpawnError, Supervisor};

/// The stored keys and answers. All clones are the same.
#[derive(Debug)]
pub struct Keys<E: Store>(Arc<Inner<E>>);

#[derive(Debug)]
struct Inner<E: Store> {
    database: Database<E>,
    settings: Settings,
    /// As many as when they were last counted, and those that were added here since.
    kept: AtomicU64,
}

/// How often answers that have been kept for long enough are looked for.
const EVERY: Duration = Duration::from_mins(1);

/// The most of them that go at once: others want to write meanwhile.
const BATCH: u64 = 1000;

impl<E: Store> Clone for Keys<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Store> Keys<E> {
    /// Stores keys in this database, which needs the [`migrations`](super::migrations).
    #[must_use]
    pub fn new(settings: &Settings, database: Database<E>) -> Self {
        Self(Arc::new(Inner {
            database,
            settings: settings.clone(),
            kept: AtomicU64::new(0),
        }))
    }

    /// Starts the task that removes answers after `idempotency.retention`.
    ///
    /// # Errors
    ///
    /// If the task was started before, or the stop has begun.
    pub fn spawn_maintenance(&self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let keys = self.clone();
        let task = supervisor.every("idempotency", EVERY);
        // A stop does not wait for a database that does not answer.
        let task = task.at_start().jitter(EVERY / 6).cancel_on_stop();
        let spawned = task.run(move |_| {
            let keys = keys.clone();
            async move { keys.maintain().await }
        });
        spawned.map(drop)
    }

    async fn maintain(&self) -> Result<(), sqlx::Error> {
        while self.forget_batch().await? == BATCH {}
        self.count().await
    }

    /// Removes some of the answers that have been kept for long enough, and says how many. One process
    /// does that at a time.
    pub(super) async fn forget_batch(&self) -> Result<u64, sqlx::Error> {
        let retention = i64::try_from(self.0.settings.retention.as_secs()).unwrap_or(i64::MAX);
        let mut transaction = self.0.database.begin().await?;
        if !transaction
            .try_claim("idempotency: what has been kept for long enough")
            .await?
        {
            return Ok(0);
        }
        let before = now().saturating_sub(retention);
        let removed = E::remove(&mut transaction, before, BATCH.cast_signed()).await?;
        transaction.commit().await?;
        Ok(removed)
    }

    /// Looks how many there are, those of other processes among them.
    pub(super) async fn count(&self) -> Result<(), sqlx::Error> {
        let kept = E::count(self.0.database.read()).await?;
        self.0.kept.store(kept, Ordering::Relaxed);
        numbers::are_kept(kept);
        Ok(())
    }

    pub(super) fn database(&self) -> &Database<E> {
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
        transaction: &mut Transaction<E>,
        key: &Keyed,
    ) -> Result<Option<([u8; 32], Answer)>, Problem> {
        let row = E::recall(transaction, key).await?;
        row.map(|row| {
            read(row).ok_or_else(|| {
                tracing::error!(route = key.route, "an answer that was kept cannot be read");
                Problem::INTERNAL
            })
        })
        .transpose()
    }

    /// Keeps an answer, unless another process has done that for this key.
    pub(super) async fn keep(
        &self,
        transaction: &mut Transaction<E>,
        key: &Keyed,
        answer: &Answer,
    ) -> Result<bool, Problem> {
        let row = Row {
            request: key.request.to_vec(),
            status: answer.status.as_u16().into(),
            head: answer.head(),
            body: answer.body.to_vec(),
        };
        match E::keep(transaction, key, row, now()).await {
            Ok(()) => {
                self.0.kept.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(error) if matches!(ErrorKind::of(&error), ErrorKind::AlreadyExists { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn read(row: Row) -> Option<([u8; 32], Answer)> {
    let request = row.request.try_into().ok()?;
    let answer = Answer::read(row.status, &row.head, row.body)?;
    Some((request, answer))
}

/// In seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
