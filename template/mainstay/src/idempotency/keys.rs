//! The stored answers, in the table `idempotency`: for `idempotency.retention`, and at most
//! `idempotency.max_answers`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::answer::Answer;
use super::key::Keyed;
use super::numbers;
use super::store::{Row, Store};
use crate::database::{Database, ErrorKind, Transaction};
use crate::problem::Problem;
use crate::settings::{ByteSize, Check, Reader, Section};
use crate::supervisor::{SpawnError, Supervisor};

/// `[idempotency]`
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long answers are stored.
    pub retention: Duration,
    /// The most answers that are stored.
    pub max_answers: u32,
    /// The largest answer that is stored.
    pub answer_limit: ByteSize,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            retention: from.value("retention"),
            max_answers: from.value("max_answers"),
            answer_limit: from.value("answer_limit"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            self.retention >= Duration::from_secs(1),
            &["idempotency.retention"],
            "must be at least 1s",
        );
        check.range("idempotency.max_answers", self.max_answers, 1..);
    }
}

/// The stored keys and answers. All clones are the same.
#[derive(Debug)]
pub struct Keys<E: Store>(Arc<Inner<E>>);

#[derive(Debug)]
struct Inner<E: Store> {
    database: Database<E>,
    settings: Settings,
    /// The answers at the last count, and those that this process has stored since.
    stored: AtomicU64,
}

const MAINTENANCE_INTERVAL: Duration = Duration::from_mins(1);

/// The most answers that one transaction removes: other writers wait for it.
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
            stored: AtomicU64::new(0),
        }))
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
            async move {
                while keys.remove_batch().await? == BATCH {}
                keys.count().await
            }
        });
        spawned.map(drop)
    }

    /// Removes some of the expired answers, and returns how many. One process does that at a time.
    pub(super) async fn remove_batch(&self) -> Result<u64, sqlx::Error> {
        let retention = i64::try_from(self.0.settings.retention.as_secs()).unwrap_or(i64::MAX);
        let mut transaction = self.0.database.begin().await?;
        if !transaction.try_claim("idempotency: retention").await? {
            return Ok(0);
        }
        let before = unix_time().saturating_sub(retention);
        let removed = E::remove(&mut transaction, before, BATCH.cast_signed()).await?;
        transaction.commit().await?;
        Ok(removed)
    }

    /// Counts the answers in the table, also those of other processes.
    pub(super) async fn count(&self) -> Result<(), sqlx::Error> {
        let stored = E::count(self.0.database.read()).await?;
        self.0.stored.store(stored, Ordering::Relaxed);
        numbers::set_stored(stored);
        Ok(())
    }

    pub(super) fn database(&self) -> &Database<E> {
        &self.0.database
    }

    pub(super) fn answer_limit(&self) -> usize {
        self.0.settings.answer_limit.0
    }

    /// Fails if no other answer can be stored.
    pub(super) fn ensure_room(&self) -> Result<(), Problem> {
        let stored = self.0.stored.load(Ordering::Relaxed);
        if stored < self.0.settings.max_answers.into() {
            return Ok(());
        }
        tracing::warn!(
            stored,
            "no room for another answer (idempotency.max_answers)"
        );
        Err(Problem::UNAVAILABLE)
    }

    /// The request that a key belongs to, and its answer.
    pub(super) async fn find(
        &self,
        transaction: &mut Transaction<E>,
        key: &Keyed,
    ) -> Result<Option<([u8; 32], Answer)>, Problem> {
        let Some(row) = E::find(transaction, key).await? else {
            return Ok(None);
        };
        let answer = Answer::parse(row.status, &row.head, row.body);
        if let (Ok(request), Some(answer)) = (row.request.try_into(), answer) {
            return Ok(Some((request, answer)));
        }
        tracing::error!(route = key.route, "a stored answer cannot be read");
        Err(Problem::INTERNAL)
    }

    /// Stores an answer. False if another process has stored one for this key.
    pub(super) async fn store(
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
        if let Err(error) = E::insert(transaction, key, row, unix_time()).await {
            let is_duplicate = matches!(ErrorKind::of(&error), ErrorKind::AlreadyExists(_));
            return if is_duplicate {
                Ok(false)
            } else {
                Err(error.into())
            };
        }
        self.0.stored.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }
}

/// In seconds since 1970.
fn unix_time() -> i64 {
    let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Reference, Sources, load};

    #[test]
    fn every_key_is_read_and_described() {
        struct Own;

        impl Section for Own {
            fn read(from: &mut Reader<'_>) -> Self {
                _ = from.section::<Settings>("idempotency");
                Self
            }
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
