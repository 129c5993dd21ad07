//! Changes on a database.

mod announcements;
mod streams;

use sqlx::QueryBuilder;

use super::*;
use crate::frame::database::{self, Database, Db};
use crate::scratch::Scratch;
use crate::service::moment::Moment;
use store::Change;

/// Longer than anything here takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many seconds after the begin of time.
fn at(seconds: i64) -> Moment {
    Moment(seconds * 1000)
}

struct Fixture {
    database: Database,
    changes: Changes,
    _scratch: Scratch,
}

impl Fixture {
    async fn new() -> Self {
        let scratch = Scratch::new();
        let settings = database::Settings {
            max_connections: 4,
            acquire_timeout: PATIENCE,
            statement_timeout: PATIENCE,
            ..database::tests::settings(scratch.url())
        };
        let database = Database::new(&settings).unwrap();
        database.prepare().await.unwrap();
        Self {
            changes: Changes::new(database.clone()),
            database,
            _scratch: scratch,
        }
    }

    async fn run(&self, statement: impl Into<String>) {
        let mut query = QueryBuilder::<Db>::new(statement);
        let query = query.build();
        query.execute(self.database.write()).await.unwrap();
    }

    /// Adds so many targets, and puts them on the schedule.
    async fn add(&self, count: usize) -> Vec<i64> {
        let mut added = Vec::new();
        for n in 0..count {
            let query = sqlx::query_scalar(
                "INSERT INTO targets (url, interval_seconds, timeout_seconds, enabled, created_at, updated_at, version)
                 VALUES ($1, 60, 10, true, 0, 0, 1) RETURNING id",
            );
            let query = query.bind(format!("http://watched-{n}.example/"));
            added.push(query.fetch_one(self.database.write()).await.unwrap());
        }
        self.run("INSERT INTO schedule (target_id, due_at) SELECT id, 0 FROM targets")
            .await;
        added
    }

    /// A check has found this, so many seconds after the begin of time.
    async fn found(&self, targets: &[i64], seconds: i64, reason: Option<&'static str>) {
        let found = targets.iter().map(|target| Observed {
            target: *target,
            at: at(seconds),
            reason,
        });
        let found: Vec<_> = found.collect();
        let mut transaction = self.database.begin().await.unwrap();
        observe(&mut transaction, &found).await.unwrap();
        transaction.commit().await.unwrap();
    }

    fn announcer(&self, settle: u64) -> Announcer {
        Announcer::new(self.changes.clone(), Duration::from_secs(settle))
    }

    /// What was announced after that.
    async fn told(&self, after: i64) -> Vec<Change> {
        self.changes.page(after, 1_000_000).await.unwrap()
    }

    /// So many changes more, of a target that there is not.
    async fn announce(&self, count: usize) {
        let one_more = format!(
            "INSERT INTO changes (id, target_id, is_up, turned_at, reason)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             SELECT (SELECT id FROM newest_change) + i, 7, false, 0, 'timeout' FROM n"
        );
        self.run(one_more).await;
        self.run(format!("UPDATE newest_change SET id = id + {count}"))
            .await;
    }
}
