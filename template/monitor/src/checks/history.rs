//! Results in the database: written together with the next due time and the state of the target, read in
//! pages, and removed after their retention.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use mainstay::database::Engine as _;
use mainstay::supervisor::{SpawnError, Supervisor};
use sqlx::{FromRow, QueryBuilder};

use super::due::{Due, End, Report};
use super::numbers;
use super::probe::Verdict;
use crate::changes::{self, Observed};
use crate::paging::{Page, Part};
use crate::settings::{Database, Engine, Transaction};
use crate::timestamp::{Timestamp, millis};

/// How long a check without room is postponed.
const LATER: Duration = Duration::from_secs(1);

/// How often old results are removed.
const EVERY: Duration = Duration::from_mins(1);

/// The most results that one statement removes, because other writers wait for it.
const BATCH: u64 = 1000;

#[derive(Debug, Clone)]
pub(super) struct History {
    database: Database,
}

/// A stored result.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(super) struct Kept {
    pub(super) due_at: i64,
    pub(super) checked_at: i64,
    pub(super) reason: Option<String>,
    pub(super) status: Option<i32>,
    pub(super) latency_ms: i32,
}

impl History {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Writes the results in one transaction, and schedules the next checks. A result is dropped if the lease
    /// has expired or the target was removed.
    pub(super) async fn write(self, reports: Arc<[Report]>) -> Result<(), sqlx::Error> {
        let now = Timestamp::now();
        // All processes write in the same order, which prevents deadlocks.
        let mut ordered: Vec<_> = reports.iter().collect();
        ordered.sort_by_key(|report| report.due.target);
        let mut outcomes = Vec::with_capacity(ordered.len());
        let mut found = Vec::with_capacity(ordered.len());
        let mut transaction = self.database.begin().await?;
        for Report { due, end } in ordered {
            outcomes.push(match end {
                End::Postponed => {
                    let later = now.after(LATER.mul_f64(1.0 + fastrand::f64()));
                    reschedule(&mut transaction, due, due.at, later).await?;
                    "postponed"
                }
                End::Checked { at, verdict } => {
                    if reschedule(&mut transaction, due, due.next(now), Timestamp(0)).await? {
                        insert(&mut transaction, due, *at, verdict).await?;
                        found.push(Observed {
                            target: due.target,
                            at: *at,
                            reason: verdict.reason(),
                        });
                        outcome(verdict)
                    } else {
                        "late"
                    }
                }
            });
        }
        // The lease is released by the commit, so that there is at most one result of a target here.
        changes::observe(&mut transaction, &found).await?;
        transaction.commit().await?;
        outcomes.into_iter().for_each(numbers::check);
        Ok(())
    }

    /// Whether the target exists.
    pub(super) async fn knows(&self, target: i64) -> Result<bool, sqlx::Error> {
        let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM targets WHERE id = $1)");
        let query = query.bind(target);
        query.fetch_one(self.database.read()).await
    }

    /// A page of the results of a target, the newest first.
    pub(super) async fn page(&self, target: i64, part: Part) -> Result<Page<Kept>, sqlx::Error> {
        let due = Timestamp(i64::MIN)..Timestamp(part.behind(i64::MAX));
        let found = self.due_within(target, due, part.probe()).await?;
        Ok(part.page(found, |kept| kept.due_at))
    }

    /// At most `most` results of a target that were due in this time range, the newest first.
    pub(super) async fn due_within(
        &self,
        target: i64,
        due: Range<Timestamp>,
        most: i64,
    ) -> Result<Vec<Kept>, sqlx::Error> {
        let query = sqlx::query_as(
            "SELECT due_at, checked_at, reason, status, latency_ms FROM checks
             WHERE target_id = $1 AND due_at >= $2 AND due_at < $3 ORDER BY due_at DESC LIMIT $4",
        );
        let query = query.bind(target).bind(due.start).bind(due.end).bind(most);
        query.fetch_all(self.database.read()).await
    }

    /// Starts the task that removes results after their retention.
    pub(super) fn spawn_retention(
        &self,
        supervisor: &Supervisor,
        retention: Duration,
    ) -> Result<(), SpawnError> {
        let history = self.clone();
        let task = supervisor.every("retention", EVERY).jitter(EVERY / 6);
        task.cancel_on_stop().run(move |_| {
            let history = history.clone();
            async move { history.remove_old(Timestamp::now().before(retention)).await }
        })
    }

    pub(super) async fn remove_old(&self, oldest: Timestamp) -> Result<(), sqlx::Error> {
        while self.remove_batch(oldest).await? == BATCH {}
        Ok(())
    }

    /// Removes some results that were due before `oldest`, and returns how many.
    pub(super) async fn remove_batch(&self, oldest: Timestamp) -> Result<u64, sqlx::Error> {
        let mut query = QueryBuilder::<Engine>::new(format!(
            "DELETE FROM checks WHERE (target_id, due_at) IN (
                 SELECT target_id, due_at FROM checks
                 WHERE due_at < $1 ORDER BY due_at LIMIT $2 {}
             )",
            Engine::skip_locked("checks")
        ));
        let query = query.build().bind(oldest.0).bind(BATCH.cast_signed());
        let removed = query.execute(self.database.write()).await?;
        Ok(removed.rows_affected())
    }
}

/// Sets the next due time, and the time from which another process may claim the check. Returns false if this
/// process has lost the lease.
async fn reschedule(
    transaction: &mut Transaction,
    due: &Due,
    next: Timestamp,
    leased_until: Timestamp,
) -> Result<bool, sqlx::Error> {
    let query = sqlx::query(
        "UPDATE schedule SET due_at = $1, leased_until = $2, interval_seconds = $3
         WHERE target_id = $4 AND due_at = $5",
    );
    let query = query.bind(next.0).bind(leased_until.0);
    let query = query.bind(i64::try_from(due.interval.as_secs()).unwrap_or(i64::MAX));
    let query = query.bind(due.target).bind(due.at.0);
    let changed = query.execute(&mut **transaction).await?;
    Ok(changed.rows_affected() == 1)
}

async fn insert(
    transaction: &mut Transaction,
    due: &Due,
    at: Timestamp,
    verdict: &Verdict,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "INSERT INTO checks (target_id, due_at, checked_at, reason, status, latency_ms)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    );
    let query = query
        .bind(due.target)
        .bind(due.at.0)
        .bind(at.0)
        .bind(verdict.reason())
        .bind(verdict.status().map(|status| i32::from(status.as_u16())))
        .bind(i32::try_from(millis(verdict.latency())).unwrap_or(i32::MAX));
    query.execute(&mut **transaction).await.map(drop)
}

fn outcome(verdict: &Verdict) -> &'static str {
    if verdict.is_up() { "up" } else { "down" }
}
