//! Changes on a database.

mod announcements;
mod streams;

use super::*;
use crate::timestamp::Timestamp;
use crate::watched::Watched;
use store::Change;

/// Longer than any operation takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A time in seconds since the epoch.
fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

struct Fixture {
    watched: Watched,
    changes: Changes,
}

impl Fixture {
    async fn new() -> Self {
        let watched = Watched::new().await;
        Self {
            changes: Changes::new(watched.database.clone()),
            watched,
        }
    }

    /// Stores the result of a check, at this many seconds since the epoch.
    async fn found(&self, targets: &[i64], seconds: i64, reason: Option<&'static str>) {
        let found = targets.iter().map(|target| Observed {
            target: *target,
            at: at(seconds),
            reason,
        });
        let found: Vec<_> = found.collect();
        let mut transaction = self.watched.database.begin().await.unwrap();
        observe(&mut transaction, &found).await.unwrap();
        transaction.commit().await.unwrap();
    }

    fn announcer(&self, settle: u64) -> Announcer {
        Announcer::new(self.changes.clone(), Duration::from_secs(settle))
    }

    /// The changes after an id.
    async fn told(&self, after: i64) -> Vec<Change> {
        self.changes.page(after, 1_000_000).await.unwrap()
    }

    /// Adds changes of a target that does not exist.
    async fn announce(&self, count: usize) {
        let one_more = format!(
            "INSERT INTO changes (id, target_id, is_up, turned_at, reason)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             SELECT (SELECT id FROM newest_change) + i, 7, false, 0, 'timeout' FROM n"
        );
        self.watched.run(one_more).await;
        self.watched
            .run(format!("UPDATE newest_change SET id = id + {count}"))
            .await;
    }
}
