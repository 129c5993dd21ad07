//! The states of targets and their changes, in the database.
//!
//! The ids of changes have no gaps, and changes become visible in the order of their ids, also with several
//! announcing processes: each announcing transaction first locks the row with the newest id, and so waits for
//! the one before. A reader of an id has seen all ids before it, and a missing id means that the change was
//! removed.

use mainstay::database::Engine as _;
use sqlx::{FromRow, QueryBuilder};

use super::numbers;
use crate::settings::{Database, Engine, Transaction};
use crate::timestamp::Timestamp;

/// The most rows that one statement writes or removes.
const BATCH: usize = 1000;

/// The most changes in one transaction, because other announcers wait for it.
const MOST: usize = 100;

/// States that are not announced yet, and have lasted since `$1`.
const SETTLED: &str = "announced IS DISTINCT FROM is_up AND turned_at <= $1";

/// The result of a check: the target, the time and, if it is down, the reason.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed {
    pub(crate) target: i64,
    pub(crate) at: Timestamp,
    pub(crate) reason: Option<&'static str>,
}

/// An announced change.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(super) struct Change {
    pub(super) id: i64,
    pub(super) target_id: i64,
    pub(super) is_up: bool,
    pub(super) turned_at: Timestamp,
    pub(super) reason: Option<String>,
}

/// Stores the states of these targets. Each target must be on the schedule, and may occur once. An unchanged
/// state is not written.
pub(crate) async fn observe(
    transaction: &mut Transaction,
    found: &[Observed],
) -> Result<(), sqlx::Error> {
    for found in found.chunks(BATCH) {
        let mut query = QueryBuilder::<Engine>::new(
            "INSERT INTO states (target_id, is_up, turned_at, reason) ",
        );
        query.push_values(found, |mut row, found| {
            row.push_bind(found.target)
                .push_bind(found.reason.is_none())
                .push_bind(found.at)
                .push_bind(found.reason);
        });
        query.push(
            " ON CONFLICT (target_id) DO UPDATE
              SET is_up = excluded.is_up, turned_at = excluded.turned_at, reason = excluded.reason
              WHERE states.is_up <> excluded.is_up",
        );
        // The statement depends on the number of rows, so it is not cached.
        let query = query.build().persistent(false);
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    database: Database,
}

impl Changes {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Announces the states that have lasted since this time.
    pub(super) async fn announce(&self, since: Timestamp) -> Result<(), sqlx::Error> {
        // A read first, so that writers do not wait when there is nothing to announce.
        let mut query = QueryBuilder::<Engine>::new(format!(
            "SELECT EXISTS (SELECT 1 FROM states WHERE {SETTLED})"
        ));
        let query = query.build_query_scalar().bind(since);
        if query.fetch_one(self.database.read()).await? {
            while self.announce_some(since).await? == MOST {}
        }
        Ok(())
    }

    /// Announces some states, and returns how many.
    async fn announce_some(&self, since: Timestamp) -> Result<usize, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let query = sqlx::query_scalar("UPDATE newest_change SET id = id RETURNING id");
        let newest: i64 = query.fetch_one(&mut *transaction).await?;
        // A state that a transaction is writing is announced in the next run.
        let mut query = QueryBuilder::<Engine>::new(format!(
            "SELECT CAST(0 AS BIGINT) AS id, target_id, is_up, turned_at, reason FROM states
             WHERE {SETTLED} ORDER BY turned_at, target_id LIMIT $2 {}",
            Engine::skip_locked("states")
        ));
        let query = query.build_query_as().bind(since);
        let query = query.bind(i64::try_from(MOST).unwrap_or(i64::MAX));
        let mut turned: Vec<Change> = query.fetch_all(&mut *transaction).await?;
        if turned.is_empty() {
            return Ok(0);
        }
        for (id, change) in (newest + 1..).zip(&mut turned) {
            change.id = id;
        }
        number(&mut transaction, &turned).await?;
        transaction.commit().await?;
        for change in &turned {
            numbers::announced(change.is_up);
        }
        Ok(turned.len())
    }

    /// At most `most` changes after this id, the oldest first.
    pub(super) async fn page(&self, after: i64, most: usize) -> Result<Vec<Change>, sqlx::Error> {
        let query = sqlx::query_as(
            "SELECT id, target_id, is_up, turned_at, reason FROM changes
             WHERE id > $1 ORDER BY id LIMIT $2",
        );
        let query = query.bind(after);
        let query = query.bind(i64::try_from(most).unwrap_or(i64::MAX));
        query.fetch_all(self.database.read()).await
    }

    /// The id of the newest change; 0 before the first one.
    pub(super) async fn newest(&self) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar("SELECT id FROM newest_change");
        query.fetch_one(self.database.read()).await
    }

    /// Removes changes that are older than `oldest`.
    pub(super) async fn remove_old(&self, oldest: Timestamp) -> Result<(), sqlx::Error> {
        while self.remove_batch(oldest).await? == BATCH as u64 {}
        Ok(())
    }

    /// Removes some old changes, and returns how many. It checks only the first ids, which are the oldest
    /// changes.
    pub(super) async fn remove_batch(&self, oldest: Timestamp) -> Result<u64, sqlx::Error> {
        let query = sqlx::query(
            "DELETE FROM changes WHERE turned_at < $1
             AND id IN (SELECT id FROM changes ORDER BY id LIMIT $2)",
        );
        let query = query.bind(oldest);
        let query = query.bind(i64::try_from(BATCH).unwrap_or(i64::MAX));
        let removed = query.execute(self.database.write()).await?;
        Ok(removed.rows_affected())
    }
}

/// Inserts the changes, and marks the states as announced.
async fn number(transaction: &mut Transaction, turned: &[Change]) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::<Engine>::new(
        "INSERT INTO changes (id, target_id, is_up, turned_at, reason) ",
    );
    query.push_values(turned, |mut row, change| {
        row.push_bind(change.id)
            .push_bind(change.target_id)
            .push_bind(change.is_up)
            .push_bind(change.turned_at)
            .push_bind(&change.reason);
    });
    let query = query.build().persistent(false);
    query.execute(&mut **transaction).await?;

    // The transaction has locked these states, so they have not changed since they were read.
    let mut query =
        QueryBuilder::<Engine>::new("UPDATE states SET announced = is_up WHERE target_id IN (");
    let mut targets = query.separated(", ");
    for change in turned {
        targets.push_bind(change.target_id);
    }
    query.push(")");
    let query = query.build().persistent(false);
    query.execute(&mut **transaction).await?;

    let query = sqlx::query("UPDATE newest_change SET id = $1");
    let query = query.bind(turned.last().map(|last| last.id));
    query.execute(&mut **transaction).await.map(drop)
}
