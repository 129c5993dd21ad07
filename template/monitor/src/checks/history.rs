//! Results in the database: written with the time at which the target is due again and with what they mean
//! for it, read a page at a time, and removed when they are old.

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
use crate::moment::{Moment, millis};
use crate::paging::{Page, Part};
use crate::settings::{Database, Engine, Transaction};

/// For how long a check is put off for which there was no room.
const LATER: Duration = Duration::from_secs(1);

/// How often old results are looked for.
const EVERY: Duration = Duration::from_mins(1);

/// The most of them that go at once: others want to write meanwhile.
const BATCH: u64 = 1000;

#[derive(Debug, Clone)]
pub(super) struct History {
    database: Database,
}

/// A result as it is kept.
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

    /// Writes these down together, and has each target checked again in its time. What is not ours to
    /// write about any more, since the lease ran out or the target was removed, is left out.
    pub(super) async fn write(self, reports: Arc<[Report]>) -> Result<(), sqlx::Error> {
        let now = Moment::now();
        // Always in the same order, so that no two processes wait for each other.
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
                    if reschedule(&mut transaction, due, due.next(now), Moment(0)).await? {
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
        // What is taken on again is so after the commit: there is one result of a target at most.
        changes::observe(&mut transaction, &found).await?;
        transaction.commit().await?;
        outcomes.into_iter().for_each(numbers::check);
        Ok(())
    }

    /// Whether there is such a target.
    pub(super) async fn knows(&self, target: i64) -> Result<bool, sqlx::Error> {
        let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM targets WHERE id = $1)");
        let query = query.bind(target);
        query.fetch_one(self.database.read()).await
    }

    /// A part of the results of a target, the newest first.
    pub(super) async fn page(&self, target: i64, part: Part) -> Result<Page<Kept>, sqlx::Error> {
        let due = Moment(i64::MIN)..Moment(part.behind(i64::MAX));
        let found = self.due_within(target, due, part.probe()).await?;
        Ok(part.page(found, |kept| kept.due_at))
    }

    /// So many of the results of a target that were due within this time, the newest first.
    pub(super) async fn due_within(
        &self,
        target: i64,
        due: Range<Moment>,
        most: i64,
    ) -> Result<Vec<Kept>, sqlx::Error> {
        let query = sqlx::query_as(
            "SELECT due_at, checked_at, reason, status, latency_ms FROM checks
             WHERE target_id = $1 AND due_at >= $2 AND due_at < $3 ORDER BY due_at DESC LIMIT $4",
        );
        let query = query.bind(target).bind(due.start).bind(due.end).bind(most);
        query.fetch_all(self.database.read()).await
    }

    /// Has results removed that are older than that.
    pub(super) fn forget_by(
        &self,
        supervisor: &Supervisor,
        retention: Duration,
    ) -> Result<(), SpawnError> {
        let history = self.clone();
        let task = supervisor.every("retention", EVERY).jitter(EVERY / 6);
        let started = task.cancel_on_stop().run(move |_| {
            let history = history.clone();
            async move { history.forget(Moment::now().before(retention)).await }
        });
        started.map(drop)
    }

    pub(super) async fn forget(&self, oldest: Moment) -> Result<(), sqlx::Error> {
        while self.forget_batch(oldest).await? == BATCH {}
        Ok(())
    }

    /// Removes some of what was due before that, and says how many.
    pub(super) async fn forget_batch(&self, oldest: Moment) -> Result<u64, sqlx::Error> {
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

/// Says when it is due again, and from when on somebody may take it on. False when it is not ours.
async fn reschedule(
    transaction: &mut Transaction,
    due: &Due,
    next: Moment,
    leased_until: Moment,
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
    at: Moment,
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
