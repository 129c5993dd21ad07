//! The schedule: a task claims each second the checks that are due.
//!
//! - One process makes each check: it holds a lease in the database. If the process dies, the lease expires,
//!   and another process claims the check.
//! - A lease lasts for `monitor.lease` plus the timeout of the target.
//! - A check has a lease if and only if it is queued, also if the client that requested it has left.
//! - No check is claimed without room in the queue.
//! - Missed checks are skipped: a target that was due ten times is checked once.
//! - A new target is due at once, and so is one whose interval was shortened.
//!
//! Replicas use their own clocks, which must differ by less than a lease. A due time from a clock that was
//! ahead delays nothing for long.

use std::time::Duration;

use mainstay::database::Engine as _;
use mainstay::database::ErrorKind;
use mainstay::supervisor::{SpawnError, Supervisor};
use sqlx::{Error, FromRow, QueryBuilder};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::due::Due;
use super::queue::{Lane, Queue, Slot};
use super::work::Work;
use crate::settings::{Database, Engine, Transaction};
use crate::timestamp::Timestamp;

const NAME: &str = "scheduler";

const EVERY: Duration = Duration::from_secs(1);

/// The most checks that one transaction claims.
const MOST: usize = 100;

/// The checks that are due: `$1` is the time, `$2` the latest time of any replica, `$3` the limit. A due time
/// is never later than the interval and its jitter from then.
const DUE: &str = "s.leased_until <= $1 AND t.enabled
     AND (s.due_at <= $1 OR s.interval_seconds > t.interval_seconds
          OR s.due_at > $2 + 1100 * CAST(t.interval_seconds AS BIGINT))
     ORDER BY s.due_at LIMIT $3";

/// Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    database: Database,
    queue: Queue,
    lease: Duration,
    /// Claims that are being committed, by tasks that callers cannot drop.
    pub(super) claims: TaskTracker,
}

/// The outcome of a requested check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requested {
    Queued,
    /// A check of this target is running.
    Running,
    QueueFull,
    /// The target is disabled.
    Disabled,
}

impl Schedule {
    pub(super) fn new(database: Database, queue: Queue, lease: Duration) -> Self {
        let claims = TaskTracker::new();
        // So that `wait` can be called at any time.
        claims.close();
        Self {
            database,
            queue,
            lease,
            claims,
        }
    }

    /// Starts the task.
    pub(super) fn spawn(&self, supervisor: &Supervisor, work: &Work) -> Result<(), SpawnError> {
        let (schedule, work) = (self.clone(), work.clone());
        work.scheduled();
        let task = supervisor.every(NAME, EVERY).at_start().jitter(EVERY / 2);
        task.run(move |context| {
            let (schedule, work) = (schedule.clone(), work.clone());
            async move {
                tokio::select! {
                    biased;
                    turned = schedule.run_once(Timestamp::now, &work) => turned,
                    // The database may be slow, and unclaimed checks are left to other processes.
                    () = context.cancelled() => {
                        schedule.claims.wait().await;
                        Ok(())
                    }
                }
            }
        })
    }

    /// Claims all due checks for which there is room. A long run is split: each part has its own time, and
    /// reports progress.
    pub(super) async fn run_once(
        &self,
        clock: impl Fn() -> Timestamp + Send,
        work: &Work,
    ) -> Result<(), Error> {
        self.queue.measure();
        let now = clock();
        let (has_new, has_due) = self.has_work(now).await?;
        if has_new {
            self.schedule_new(now).await?;
        }
        work.scheduled();
        if has_new || has_due {
            while self.claim_some(clock()).await? {
                work.scheduled();
            }
        }
        Ok(())
    }

    /// Claims some due checks. Returns true if there may be more, and room for them.
    async fn claim_some(&self, now: Timestamp) -> Result<bool, Error> {
        let slots = std::iter::from_fn(|| self.queue.reserve(Lane::Scheduled));
        let slots: Vec<_> = slots.take(MOST).collect();
        let room = slots.len();
        if room == 0 {
            return Ok(false);
        }
        let (transaction, claimed) = self.claim(now, room).await?;
        let may_be_more = claimed.len() == room;
        let taken = slots.into_iter().zip(claimed).collect();
        self.commit_claims(transaction, taken).await?;
        Ok(may_be_more)
    }

    /// Commits the claims, and queues the checks. Dropping this future does not undo it.
    async fn commit_claims(
        &self,
        transaction: Transaction,
        taken: Vec<(Slot, Due)>,
    ) -> Result<(), Error> {
        let commit = self.claims.spawn(async move {
            transaction.commit().await?;
            for (slot, due) in taken {
                slot.send(due);
            }
            Ok(())
        });
        commit.await.unwrap_or(Err(Error::WorkerCrashed))
    }

    /// Whether there are new targets, and whether any check is due. A read first, so that writers do not
    /// wait.
    async fn has_work(&self, now: Timestamp) -> Result<(bool, bool), Error> {
        let mut query = QueryBuilder::<Engine>::new(format!(
            "SELECT EXISTS ({NEW}), EXISTS (
                 SELECT 1 FROM schedule s JOIN targets t ON t.id = s.target_id WHERE {DUE}
             )"
        ));
        let query = query.build_query_as();
        let query = query.bind(now.0).bind(self.latest(now).0).bind(1_i64);
        query.fetch_one(self.database.read()).await
    }

    /// Schedules new targets at once.
    async fn schedule_new(&self, now: Timestamp) -> Result<(), Error> {
        let mut query = QueryBuilder::<Engine>::new(format!(
            "INSERT INTO schedule (target_id, due_at)
             SELECT id, CAST($1 AS BIGINT) FROM ({NEW}) AS new WHERE true
             ON CONFLICT DO NOTHING"
        ));
        let query = query.build().bind(now.0);
        match query.execute(self.database.write()).await {
            // A target was removed meanwhile. The next run adds the others.
            Err(error) if matches!(ErrorKind::of(&error), ErrorKind::Reference(_)) => Ok(()),
            admitted => admitted.map(drop),
        }
    }

    /// The number of due checks.
    pub(super) async fn backlog(database: &Database, now: Timestamp) -> Result<i64, Error> {
        let query = sqlx::query_scalar(
            "SELECT count(*) FROM schedule s JOIN targets t ON t.id = s.target_id
             WHERE s.due_at <= $1 AND t.enabled",
        );
        query.bind(now.0).fetch_one(database.read()).await
    }

    /// Claims due checks in a transaction, which the caller must commit.
    async fn claim(&self, now: Timestamp, most: usize) -> Result<(Transaction, Vec<Due>), Error> {
        let (began, most) = (Instant::now(), i64::try_from(most).unwrap_or(i64::MAX));
        let mut transaction = self.database.begin().await?;
        let query = format!("{TAKEN} WHERE {DUE} {}", Engine::skip_locked("s"));
        let mut query = QueryBuilder::<Engine>::new(query);
        let query = query.build_query_as();
        let query = query.bind(now.0).bind(self.latest(now).0).bind(most);
        let rows: Vec<Row> = query.fetch_all(&mut *transaction).await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            claimed.extend(self.lease(&mut transaction, row, now, began).await?);
        }
        Ok((transaction, claimed))
    }

    /// Claims a check of one target now, before scheduled ones.
    pub(super) async fn request(&self, target: i64, now: Timestamp) -> Result<Requested, Error> {
        let Some(slot) = self.queue.reserve(Lane::Manual) else {
            return Ok(Requested::QueueFull);
        };
        let began = Instant::now();
        self.schedule_new(now).await?;
        let mut transaction = self.database.begin().await?;
        let query = format!(
            "{TAKEN} WHERE s.target_id = $1 {}",
            Engine::skip_locked("s")
        );
        let mut query = QueryBuilder::<Engine>::new(query);
        let query = query.build_query_as().bind(target);
        let Some(row): Option<Row> = query.fetch_optional(&mut *transaction).await? else {
            return Ok(Requested::Running);
        };
        if !row.enabled {
            return Ok(Requested::Disabled);
        }
        if row.leased_until > now.0 {
            return Ok(Requested::Running);
        }
        let Some(due) = self.lease(&mut transaction, row, now, began).await? else {
            return Ok(Requested::Running);
        };
        self.commit_claims(transaction, vec![(slot, due)]).await?;
        Ok(Requested::Queued)
    }

    /// The latest time that the clock of another replica may show.
    fn latest(&self, now: Timestamp) -> Timestamp {
        now.after(self.lease)
    }

    /// Takes the lease, from `now`, which is `began` on the monotonic clock.
    async fn lease(
        &self,
        transaction: &mut Transaction,
        row: Row,
        now: Timestamp,
        began: Instant,
    ) -> Result<Option<Due>, Error> {
        let at = Timestamp(row.due_at).min(now);
        let seconds = |number: i64| Duration::from_secs(number.max(1).unsigned_abs());
        let timeout = seconds(row.timeout_seconds);
        let query =
            sqlx::query("UPDATE schedule SET due_at = $1, leased_until = $2 WHERE target_id = $3");
        let query = query.bind(at.0);
        let until = now.after(self.lease + timeout);
        let query = query.bind(until.0).bind(row.target_id);
        query.execute(&mut **transaction).await?;
        let Ok(url) = row.url.parse() else {
            tracing::error!(target_id = row.target_id, "a target has an invalid URL");
            return Ok(None);
        };
        Ok(Some(Due {
            target: row.target_id,
            url,
            timeout,
            interval: seconds(row.interval_seconds),
            at,
            // The rest of the lease is for writing the result.
            deadline: began + timeout + self.lease * 3 / 4,
        }))
    }
}

/// Targets that are not scheduled yet.
const NEW: &str = "SELECT id FROM targets
     WHERE NOT EXISTS (SELECT 1 FROM schedule WHERE target_id = targets.id)";

const TAKEN: &str = "SELECT s.target_id, s.due_at, s.leased_until, t.url, t.interval_seconds,
            t.timeout_seconds, t.enabled
     FROM schedule s JOIN targets t ON t.id = s.target_id";

#[derive(FromRow)]
struct Row {
    target_id: i64,
    due_at: i64,
    leased_until: i64,
    url: String,
    interval_seconds: i64,
    timeout_seconds: i64,
    enabled: bool,
}
