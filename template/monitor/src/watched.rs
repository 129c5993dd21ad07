//! A database with targets, for tests.

use std::time::Duration;

use mainstay::database;
use mainstay::testing::{Scratch, TestEngine, database_settings};
use sqlx::QueryBuilder;
use tokio::time::{advance, pause, resume, sleep, timeout};

use crate::app;
use crate::settings::{Database, Engine};

/// Longer than any operation takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Watched {
    pub(super) database: Database,
    _scratch: Scratch,
}

impl Watched {
    /// A database without targets.
    pub(super) async fn new() -> Self {
        let scratch = Engine::scratch();
        let settings = database::Settings {
            max_connections: 4,
            acquire_timeout: PATIENCE,
            statement_timeout: PATIENCE,
            ..database_settings(&scratch.url)
        };
        let database = Database::new(&settings, &app::migrations()).unwrap();
        database.connect().await.unwrap();
        database.migrate_or_verify().await.unwrap();
        Self {
            database,
            _scratch: scratch,
        }
    }

    /// Adds targets, and returns their ids.
    pub(super) async fn add(&self, count: usize) -> Vec<i64> {
        let mut added = Vec::new();
        for n in 0..count {
            let query = sqlx::query_scalar(
                "INSERT INTO targets (url, interval_seconds, timeout_seconds, enabled, created_at, updated_at, version)
                 VALUES ($1, 60, 10, true, 0, 0, 1) RETURNING id",
            );
            let query = query.bind(format!("http://watched-{n}.example/"));
            added.push(query.fetch_one(self.database.write()).await.unwrap());
        }
        added
    }

    /// Adds targets that are due at once.
    pub(super) async fn schedule(&self, count: usize) -> Vec<i64> {
        let added = self.add(count).await;
        self.run("INSERT INTO schedule (target_id, due_at) SELECT id, 0 FROM targets")
            .await;
        added
    }

    /// Waits until `is` returns something, after advancing the clock for waiting tasks.
    pub(super) async fn after<T>(
        &self,
        time: Duration,
        mut is: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        // Lets the tasks begin to wait.
        sleep(Duration::from_millis(1)).await;
        // Only for a moment, because the database runs in real time.
        pause();
        advance(time).await;
        resume();
        let comes = async {
            loop {
                if let Some(found) = is().await {
                    return found;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, comes).await.unwrap()
    }

    pub(super) async fn run(&self, statement: impl Into<String>) {
        let mut query = QueryBuilder::<Engine>::new(statement);
        let query = query.build();
        query.execute(self.database.write()).await.unwrap();
    }
}
