//! The states of targets and their changes, in the database.
//!
//! Changes are numbered without gaps, and become visible in the order of their numbers, however many
//! processes announce: each transaction that announces begins by taking the row with the newest number, and
//! so waits for the one before to be over. Whoever has read up to a number has read all before it, and who
//! finds a number missing knows that it was removed.

use mainstay::database::Engine as _;
use sqlx::{FromRow, QueryBuilder};

use super::numbers;
use crate::moment::Moment;
use crate::settings::{Database, Engine, Transaction};

/// The most rows that are written by one statement, or removed at once.
const BATCH: usize = 1000;

/// The most changes that are announced in one transaction: others wait for it.
const MOST: usize = 100;

/// What has not been announced, and has lasted since then.
const SETTLED: &str = "announced IS DISTINCT FROM is_up AND turned_at <= $1";

/// What a check has found: of what target, when, and why it is down, if it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed {
    pub(crate) target: i64,
    pub(crate) at: Moment,
    pub(crate) reason: Option<&'static str>,
}

/// A change as it was announced.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(super) struct Change {
    pub(super) id: i64,
    pub(super) target_id: i64,
    pub(super) is_up: bool,
    pub(super) turned_at: Moment,
    pub(super) reason: Option<String>,
}

/// Notes what was found of each of these targets, which are on the schedule, and none of them twice. One
/// that is as it was stays untouched.
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
        // There is one such statement for each number of rows: not worth remembering.
        let query = query.build().persistent(false);
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

/// All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    database: Database,
}

impl Changes {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Announces what has lasted since then.
    pub(super) async fn announce(&self, since: Moment) -> Result<(), sqlx::Error> {
        // Whoever only looks keeps nobody from writing.
        let mut query = QueryBuilder::<Engine>::new(format!(
            "SELECT EXISTS (SELECT 1 FROM states WHERE {SETTLED})"
        ));
        let query = query.build_query_scalar().bind(since);
        if query.fetch_one(self.database.read()).await? {
            while self.announce_some(since).await? == MOST {}
        }
        Ok(())
    }

    /// Announces some of it, and says how many.
    async fn announce_some(&self, since: Moment) -> Result<usize, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let query = sqlx::query_scalar("UPDATE newest_change SET id = id RETURNING id");
        let newest: i64 = query.fetch_one(&mut *transaction).await?;
        // Those that a result is being written of have a next time.
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

    /// So many of the changes after this one, the oldest first.
    pub(super) async fn page(&self, after: i64, most: usize) -> Result<Vec<Change>, sqlx::Error> {
        let query = sqlx::query_as(
            "SELECT id, target_id, is_up, turned_at, reason FROM changes
             WHERE id > $1 ORDER BY id LIMIT $2",
        );
        let query = query.bind(after);
        let query = query.bind(i64::try_from(most).unwrap_or(i64::MAX));
        query.fetch_all(self.database.read()).await
    }

    /// The number of the newest change; 0 before the first one.
    pub(super) async fn newest(&self) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar("SELECT id FROM newest_change");
        query.fetch_one(self.database.read()).await
    }

    /// Removes changes that are older than that.
    pub(super) async fn forget(&self, oldest: Moment) -> Result<(), sqlx::Error> {
        while self.forget_some(oldest).await? == BATCH as u64 {}
        Ok(())
    }

    /// Removes some of them, and says how many. Only the first are looked at: those are the oldest ones.
    pub(super) async fn forget_some(&self, oldest: Moment) -> Result<u64, sqlx::Error> {
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

/// Writes them down as announced.
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

    // They are ours: each is as it was read.
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
