//! When each target is checked: a task that looks once a second for what is due, and takes it on.
//!
//! - Each check that is due is made by one process, however many there are: whoever takes it on has a lease,
//!   in the database. If that process dies, the lease runs out, and another one takes it on.
//! - Nothing is taken on for which there is no room in the queue.
//! - What was missed is not made up for: a target that was due ten times is checked once.
//! - A target that was added is due at once, and so is one whose interval was made shorter.
//!
//! Replicas go by their own clocks, which must not differ by as much as a lease is long. What one has written
//! whose clock is further ahead holds nobody up.

use std::time::Duration;

use sqlx::{FromRow, QueryBuilder};
use tokio::time::Instant;

use super::due::Due;
use super::queue::{Lane, Queue};
use super::work::Work;
use crate::frame::database::{Database, Db, Refusal, SKIP_LOCKED, Transaction};
use crate::frame::supervisor::{Refused, Supervisor};
use crate::service::moment::Moment;

const NAME: &str = "scheduler";

const EVERY: Duration = Duration::from_secs(1);

/// The most that are taken on in one transaction.
const MOST: usize = 100;

/// What is due. It takes the moment that it is, the latest that it can be for anybody, and how many are
/// wanted. Nothing is scheduled for later than its interval, and the jitter of that, from then on.
const DUE: &str = "s.leased_until <= $1 AND t.enabled
     AND (s.due_at <= $1 OR s.interval_seconds > t.interval_seconds
          OR s.due_at > $2 + 1100 * CAST(t.interval_seconds AS BIGINT))
     ORDER BY s.due_at LIMIT $3";

/// All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    database: Database,
    queue: Queue,
    lease: Duration,
}

/// What has become of the wish for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Granted,
    /// Somebody is making one just now.
    UnderWay,
    NoRoom,
}

impl Schedule {
    pub(super) fn new(database: Database, queue: Queue, lease: Duration) -> Self {
        Self {
            database,
            queue,
            lease,
        }
    }

    /// Starts the task.
    pub(super) fn run_by(&self, supervisor: &Supervisor, work: &Work) -> Result<(), Refused> {
        let (schedule, work) = (self.clone(), work.clone());
        work.scheduled();
        let task = supervisor.every(NAME, EVERY).at_start().jitter(EVERY / 2);
        // The database may be slow to answer, and what is not taken on is there for others.
        let started = task.gives_way().run(move |_| {
            let (schedule, work) = (schedule.clone(), work.clone());
            async move {
                let turned = schedule.turn(Moment::now()).await;
                turned.map(|()| work.scheduled())
            }
        });
        started.map(drop)
    }

    /// Takes on all that is due, as far as there is room.
    pub(super) async fn turn(&self, now: Moment) -> Result<(), sqlx::Error> {
        self.queue.measure();
        let (has_new, has_due) = self.look(now).await?;
        if has_new {
            self.admit(now).await?;
        }
        if has_new || has_due {
            while self.fill(now).await? {}
        }
        Ok(())
    }

    /// Takes on some of what is due. True when there may be more, and room for it.
    async fn fill(&self, now: Moment) -> Result<bool, sqlx::Error> {
        let room = self.queue.room(Lane::Scheduled).min(MOST);
        if room == 0 {
            return Ok(false);
        }
        let claimed = self.claim(now, room).await?;
        let may_be_more = claimed.len() == room;
        // Nobody else fills this lane. Were it so, the lease of what finds no room would run out.
        let found_room = claimed
            .into_iter()
            .all(|due| self.queue.push(Lane::Scheduled, due));
        Ok(may_be_more && found_room)
    }

    /// Whether there are targets that are new, and whether any is due: whoever only reads keeps nobody
    /// from writing.
    async fn look(&self, now: Moment) -> Result<(bool, bool), sqlx::Error> {
        let mut query = QueryBuilder::<Db>::new(format!(
            "SELECT EXISTS ({NEW}), EXISTS (
                 SELECT 1 FROM schedule s JOIN targets t ON t.id = s.target_id WHERE {DUE}
             )"
        ));
        let query = query.build_query_as();
        let query = query.bind(now.0).bind(self.latest(now).0).bind(1_i64);
        query.fetch_one(self.database.read()).await
    }

    /// Has new targets checked as soon as possible.
    async fn admit(&self, now: Moment) -> Result<(), sqlx::Error> {
        let mut query = QueryBuilder::<Db>::new(format!(
            "INSERT INTO schedule (target_id, due_at)
             SELECT id, CAST($1 AS BIGINT) FROM ({NEW}) AS new WHERE true
             ON CONFLICT DO NOTHING"
        ));
        let query = query.build().bind(now.0);
        match query.execute(self.database.write()).await {
            // One of them was removed meanwhile: the others are there the next time.
            Err(error) if matches!(Refusal::of(&error), Refusal::Related { .. }) => Ok(()),
            admitted => admitted.map(drop),
        }
    }

    /// How many checks are due, before anybody makes one.
    pub(super) async fn backlog(database: &Database, now: Moment) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar(
            "SELECT count(*) FROM schedule s JOIN targets t ON t.id = s.target_id
             WHERE s.due_at <= $1 AND t.enabled",
        );
        query.bind(now.0).fetch_one(database.read()).await
    }

    async fn claim(&self, now: Moment, most: usize) -> Result<Vec<Due>, sqlx::Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut transaction = self.database.begin().await?;
        let query = format!("{TAKEN} WHERE {DUE} {SKIP_LOCKED}");
        let mut query = QueryBuilder::<Db>::new(query);
        let query = query.build_query_as();
        let query = query.bind(now.0).bind(self.latest(now).0).bind(most);
        let rows: Vec<Row> = query.fetch_all(&mut *transaction).await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            claimed.extend(self.lease(&mut transaction, row, now).await?);
        }
        transaction.commit().await?;
        Ok(claimed)
    }

    /// Has one target checked now, before all that are due.
    pub(super) async fn wish(&self, target: i64, now: Moment) -> Result<Wish, sqlx::Error> {
        if self.queue.room(Lane::Manual) == 0 {
            return Ok(Wish::NoRoom);
        }
        self.admit(now).await?;
        let mut transaction = self.database.begin().await?;
        let query =
            format!("{TAKEN} WHERE s.leased_until <= $1 AND s.target_id = $2 {SKIP_LOCKED}");
        let mut query = QueryBuilder::<Db>::new(query);
        let query = query.build_query_as().bind(now.0).bind(target);
        let Some(row) = query.fetch_optional(&mut *transaction).await? else {
            return Ok(Wish::UnderWay);
        };
        let Some(due) = self.lease(&mut transaction, row, now).await? else {
            return Ok(Wish::UnderWay);
        };
        // Before the commit: without room, there is no lease either.
        if !self.queue.push(Lane::Manual, due) {
            return Ok(Wish::NoRoom);
        }
        transaction.commit().await?;
        Ok(Wish::Granted)
    }

    /// What the time may be for somebody else.
    fn latest(&self, now: Moment) -> Moment {
        now.after(self.lease)
    }

    /// Makes it ours for a while.
    async fn lease(
        &self,
        transaction: &mut Transaction,
        row: Row,
        now: Moment,
    ) -> Result<Option<Due>, sqlx::Error> {
        let at = Moment(row.due_at).min(now);
        let query =
            sqlx::query("UPDATE schedule SET due_at = $1, leased_until = $2 WHERE target_id = $3");
        let query = query.bind(at.0);
        let query = query.bind(now.after(self.lease).0).bind(row.target_id);
        query.execute(&mut **transaction).await?;
        let Ok(url) = row.url.parse() else {
            tracing::error!(target_id = row.target_id, "a target has a URL that is none");
            return Ok(None);
        };
        let seconds = |number: i64| Duration::from_secs(number.max(1).unsigned_abs());
        Ok(Some(Due {
            target: row.target_id,
            url,
            timeout: seconds(row.timeout_seconds),
            interval: seconds(row.interval_seconds),
            at,
            // The rest of the lease is for writing it down.
            deadline: Instant::now() + self.lease * 3 / 4,
        }))
    }
}

/// Targets that are not on the schedule yet.
const NEW: &str = "SELECT id FROM targets
     WHERE NOT EXISTS (SELECT 1 FROM schedule WHERE target_id = targets.id)";

const TAKEN: &str = "SELECT s.target_id, s.due_at, t.url, t.interval_seconds, t.timeout_seconds
     FROM schedule s JOIN targets t ON t.id = s.target_id";

#[derive(FromRow)]
struct Row {
    target_id: i64,
    due_at: i64,
    url: String,
    interval_seconds: i64,
    timeout_seconds: i64,
}
