//! When each target is checked: a task that looks once a second for what is due, and takes it on.
//!
//! - Each check that is due is made by one process, however many there are: whoever takes it on has a lease,
//!   in the database. If that process dies, the lease runs out, and another one takes it on.
//! - A lease is for `monitor.lease`, and for as long as the target may take to answer besides: whatever that
//!   is, a check that does not wait for very long has its time.
//! - What has a lease is in the queue, and what has none is not, also when whoever wanted it has left meanwhile.
//! - Nothing is taken on for which there is no room in the queue.
//! - What was missed is not made up for: a target that was due ten times is checked once.
//! - A target that was added is due at once, and so is one whose interval was made shorter.
//!
//! Replicas go by their own clocks, which must not differ by as much as a lease is long. What one has written
//! whose clock is further ahead holds nobody up.

use std::time::Duration;

use mainstay::database::Engine as _;
use mainstay::database::ErrorKind;
use mainstay::supervisor::{SpawnError, Supervisor};
use sqlx::{Error, FromRow, QueryBuilder};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::due::Due;
use super::queue::{Lane, Place, Queue};
use super::work::Work;
use crate::moment::Moment;
use crate::settings::{Database, Engine, Transaction};

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
    /// What is being taken on, by tasks that nobody can drop.
    pub(super) takings: TaskTracker,
}

/// What has become of the wish for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Granted,
    /// Somebody is making one just now.
    UnderWay,
    NoRoom,
    /// It is not to be checked at all.
    SwitchedOff,
}

impl Schedule {
    pub(super) fn new(database: Database, queue: Queue, lease: Duration) -> Self {
        let takings = TaskTracker::new();
        // It can be waited for whenever nothing is under way, and not only in the end.
        takings.close();
        Self {
            database,
            queue,
            lease,
            takings,
        }
    }

    /// Starts the task.
    pub(super) fn run_by(&self, supervisor: &Supervisor, work: &Work) -> Result<(), SpawnError> {
        let (schedule, work) = (self.clone(), work.clone());
        work.scheduled();
        let task = supervisor.every(NAME, EVERY).at_start().jitter(EVERY / 2);
        let started = task.run(move |context| {
            let (schedule, work) = (schedule.clone(), work.clone());
            async move {
                tokio::select! {
                    biased;
                    turned = schedule.turn(Moment::now, &work) => turned,
                    // The database may be slow to answer, and what is not taken on is there for others.
                    () = context.cancelled() => {
                        schedule.takings.wait().await;
                        Ok(())
                    }
                }
            }
        });
        started.map(drop)
    }

    /// Takes on all that is due, as far as there is room. With very much of it that takes a while: each part
    /// has its own time, and tells that there is work done.
    pub(super) async fn turn(
        &self,
        clock: impl Fn() -> Moment + Send,
        work: &Work,
    ) -> Result<(), Error> {
        self.queue.measure();
        let now = clock();
        let (has_new, has_due) = self.look(now).await?;
        if has_new {
            self.admit(now).await?;
        }
        work.scheduled();
        if has_new || has_due {
            while self.fill(clock()).await? {
                work.scheduled();
            }
        }
        Ok(())
    }

    /// Takes on some of what is due. True when there may be more, and room for it.
    async fn fill(&self, now: Moment) -> Result<bool, Error> {
        let places = std::iter::from_fn(|| self.queue.place(Lane::Scheduled));
        let places: Vec<_> = places.take(MOST).collect();
        let room = places.len();
        if room == 0 {
            return Ok(false);
        }
        let (transaction, claimed) = self.claim(now, room).await?;
        let may_be_more = claimed.len() == room;
        let taken = places.into_iter().zip(claimed).collect();
        self.take_on(transaction, taken).await?;
        Ok(may_be_more)
    }

    /// Makes claims last, and queues what they are about. Whoever drops this when it has begun does not undo it.
    async fn take_on(
        &self,
        transaction: Transaction,
        taken: Vec<(Place, Due)>,
    ) -> Result<(), Error> {
        let taking = self.takings.spawn(async move {
            transaction.commit().await?;
            for (place, due) in taken {
                place.fill(due);
            }
            Ok(())
        });
        taking.await.unwrap_or(Err(Error::WorkerCrashed))
    }

    /// Whether there are targets that are new, and whether any is due: whoever only reads keeps nobody
    /// from writing.
    async fn look(&self, now: Moment) -> Result<(bool, bool), Error> {
        let mut query = QueryBuilder::<Engine>::new(format!(
            "SELECT EXISTS ({NEW}), EXISTS (
                 SELECT 1 FROM schedule s JOIN targets t ON t.id = s.target_id WHERE {DUE}
             )"
        ));
        let query = query.build_query_as();
        let query = query.bind(now.0).bind(self.latest(now).0).bind(1_i64);
        query.fetch_one(self.database.read()).await
    }

    /// Has new targets checked as soon as possible.
    async fn admit(&self, now: Moment) -> Result<(), Error> {
        let mut query = QueryBuilder::<Engine>::new(format!(
            "INSERT INTO schedule (target_id, due_at)
             SELECT id, CAST($1 AS BIGINT) FROM ({NEW}) AS new WHERE true
             ON CONFLICT DO NOTHING"
        ));
        let query = query.build().bind(now.0);
        match query.execute(self.database.write()).await {
            // One of them was removed meanwhile: the others are there the next time.
            Err(error) if matches!(ErrorKind::of(&error), ErrorKind::Reference(_)) => Ok(()),
            admitted => admitted.map(drop),
        }
    }

    /// How many checks are due, before anybody makes one.
    pub(super) async fn backlog(database: &Database, now: Moment) -> Result<i64, Error> {
        let query = sqlx::query_scalar(
            "SELECT count(*) FROM schedule s JOIN targets t ON t.id = s.target_id
             WHERE s.due_at <= $1 AND t.enabled",
        );
        query.bind(now.0).fetch_one(database.read()).await
    }

    /// Claims some of what is due, until the transaction ends: for good if that is committed.
    async fn claim(&self, now: Moment, most: usize) -> Result<(Transaction, Vec<Due>), Error> {
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

    /// Has one target checked now, before all that are due.
    pub(super) async fn wish(&self, target: i64, now: Moment) -> Result<Wish, Error> {
        let Some(place) = self.queue.place(Lane::Manual) else {
            return Ok(Wish::NoRoom);
        };
        let began = Instant::now();
        self.admit(now).await?;
        let mut transaction = self.database.begin().await?;
        let query = format!(
            "{TAKEN} WHERE s.target_id = $1 {}",
            Engine::skip_locked("s")
        );
        let mut query = QueryBuilder::<Engine>::new(query);
        let query = query.build_query_as().bind(target);
        let Some(row): Option<Row> = query.fetch_optional(&mut *transaction).await? else {
            return Ok(Wish::UnderWay);
        };
        if !row.enabled {
            return Ok(Wish::SwitchedOff);
        }
        if row.leased_until > now.0 {
            return Ok(Wish::UnderWay);
        }
        let Some(due) = self.lease(&mut transaction, row, now, began).await? else {
            return Ok(Wish::UnderWay);
        };
        self.take_on(transaction, vec![(place, due)]).await?;
        Ok(Wish::Granted)
    }

    /// What the time may be for somebody else.
    fn latest(&self, now: Moment) -> Moment {
        now.after(self.lease)
    }

    /// Makes it ours for a while, which began `now`: at `began`, as clocks have it that nobody sets.
    async fn lease(
        &self,
        transaction: &mut Transaction,
        row: Row,
        now: Moment,
        began: Instant,
    ) -> Result<Option<Due>, Error> {
        let at = Moment(row.due_at).min(now);
        let seconds = |number: i64| Duration::from_secs(number.max(1).unsigned_abs());
        let timeout = seconds(row.timeout_seconds);
        let query =
            sqlx::query("UPDATE schedule SET due_at = $1, leased_until = $2 WHERE target_id = $3");
        let query = query.bind(at.0);
        let until = now.after(self.lease + timeout);
        let query = query.bind(until.0).bind(row.target_id);
        query.execute(&mut **transaction).await?;
        let Ok(url) = row.url.parse() else {
            tracing::error!(target_id = row.target_id, "a target has a URL that is none");
            return Ok(None);
        };
        Ok(Some(Due {
            target: row.target_id,
            url,
            timeout,
            interval: seconds(row.interval_seconds),
            at,
            // The rest of the lease is for writing it down.
            deadline: began + timeout + self.lease * 3 / 4,
        }))
    }
}

/// Targets that are not on the schedule yet.
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
