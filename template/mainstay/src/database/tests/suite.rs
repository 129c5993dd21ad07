//! The tests that hold for every engine `E`, compiled once for each. Tests of a single engine are beside it.

use std::time::Duration;

use futures_util::StreamExt;
use sqlx::Executor;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::E;
use crate::context::RequestContext;
use crate::database::*;
use crate::testing::{Scratch, TestEngine, database_settings};
use crate::tests::PATIENCE;

mod migrations;
mod settings;
mod sqlx_pool;
mod transactions;

/// Keeps a connection busy for longer than any test.
const ENDLESS: &str = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) \
     SELECT count(*) FROM numbers";

/// A database with a table, and settings that do not wait for long.
pub(crate) struct Fixture {
    pub(crate) database: Database<E>,
    #[allow(dead_code, reason = "only the tests of SQLite read it")]
    pub(crate) scratch: Scratch,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let scratch = E::scratch();
        let mut settings = database_settings(&scratch.url);
        change(&mut settings);
        let database = Database::new(&settings, &[]).unwrap();
        database.connect().await.unwrap();
        let table = "CREATE TABLE things (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            size INTEGER CONSTRAINT things_size_check CHECK (size > 0),
            part_of INTEGER REFERENCES things (id)
        )";
        sqlx::query(table).execute(database.write()).await.unwrap();
        Self { database, scratch }
    }

    pub(crate) async fn add(&self, name: &str) -> Result<(), sqlx::Error> {
        let row = "INSERT INTO things (id, name) VALUES ((SELECT count(*) FROM things), $1)";
        let added = sqlx::query(row).bind(name).execute(self.database.write());
        added.await.map(drop)
    }

    pub(crate) async fn count(&self) -> i64 {
        let query = sqlx::query_scalar("SELECT count(*) FROM things");
        query.fetch_one(self.database.read()).await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let query = sqlx::query_scalar("SELECT name FROM things ORDER BY name");
        query.fetch_all(self.database.read()).await.unwrap()
    }

    /// Closes the database, and returns the names of what still held a connection.
    async fn close(&self, patience: Duration) -> Vec<String> {
        self.database.close(Instant::now() + patience).await
    }

    /// The pool that writes.
    fn status(&self) -> PoolStatus {
        let pools = self.database.status();
        pools.into_values().next_back().unwrap()
    }

    /// Waits until every connection has returned.
    async fn rest(&self) {
        let rest = async {
            while self.status().in_use > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, rest).await.unwrap();
    }
}

/// Adds a row.
async fn insert<'e>(
    executor: impl Executor<'e, Database = E>,
    id: i32,
    name: &str,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query("INSERT INTO things (id, name) VALUES ($1, $2)");
    query.bind(id).bind(name).execute(executor).await.map(drop)
}

/// Fails unless `work` ends soon.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    let done = timeout(Duration::from_secs(10), work).await;
    done.expect("it ends soon")
}

#[tokio::test]
async fn connection_is_reused_by_the_next_caller() {
    let fixture = Fixture::new().await;
    for number in 0..10 {
        fixture.add(&number.to_string()).await.unwrap();
    }
    assert_eq!(fixture.count().await, 10);
    let status = fixture.status();
    assert_eq!((status.size, status.idle, status.in_use), (1, 1, 0));
    assert_eq!(status.waits.timeouts, 0);
}

#[tokio::test]
async fn partly_read_result_leaves_the_connection_usable() {
    let fixture = Fixture::with(|settings| settings.max_connections = 1).await;
    for number in 0..3 {
        fixture.add(&number.to_string()).await.unwrap();
    }
    for _ in 0..3 {
        let query = sqlx::query_scalar("SELECT name FROM things ORDER BY id");
        let mut names = query.fetch(fixture.database.read());
        let first: String = names.next().await.unwrap().unwrap();
        assert_eq!(first, "0");
    }
    assert_eq!(fixture.count().await, 3);
}

#[tokio::test]
async fn connection_is_replaced_after_max_lifetime() {
    let fixture = Fixture::with(|settings| settings.max_lifetime = Duration::from_secs(1)).await;
    fixture.add("first").await.unwrap();
    sleep(Duration::from_millis(1100)).await;
    fixture.add("second").await.unwrap();
    assert!(fixture.status().waits.discarded_old >= 1);
    assert_eq!(fixture.status().size, 1);
}

#[tokio::test]
async fn log_message_contains_no_value_of_a_client() {
    let fixture = Fixture::new().await;
    fixture.add("canary").await.unwrap();
    for statement in [
        // The message contains it: "no such column: canary", "near "canary"".
        "SELECT canary FROM things",
        "SELECT id FROM things WHERE canary(name)",
        "SELECT id FROM things WHERE name = 'x' canary",
        "INSERT INTO things (id, name) VALUES (9, 'canary')",
    ] {
        let failed = sqlx::query(statement).execute(fixture.database.write());
        let error = failed.await.unwrap_err();
        let words = log_safe_message(&error);
        assert!(!words.contains("canary"), "{words}");
        let code = errors::code(&error);
        assert!(words.contains(&*code), "{code} is not in {words}");
    }
    let query = sqlx::query_scalar("SELECT name FROM things");
    let read: Result<i64, _> = query.fetch_one(fixture.database.read()).await;
    let words = log_safe_message(&read.unwrap_err());
    assert!(!words.contains("canary"), "{words}");
}

#[tokio::test]
async fn abandoned_statement_ends_and_frees_its_connection() {
    let fixture = Fixture::with(|settings| settings.max_connections = 1).await;
    let endless = sqlx::query(ENDLESS).execute(fixture.database.write());
    let given_up = timeout(Duration::from_millis(50), endless).await;
    assert!(given_up.is_err(), "{given_up:?}");
    soon(fixture.add("next")).await.unwrap();
}

#[tokio::test]
async fn statement_over_its_time_limit_ends_as_timeout() {
    // Long enough for the other writes, also on a slow disk.
    let limit = Duration::from_secs(2);
    let fixture = Fixture::with(|settings| settings.statement_timeout = limit).await;
    let endless = sqlx::query(ENDLESS).execute(fixture.database.write());
    let error = soon(endless).await.unwrap_err();
    assert_eq!(ErrorKind::of(&error), ErrorKind::Timeout, "{error}");
    fixture.add("next").await.unwrap();
}

#[tokio::test]
async fn checkout_fails_after_acquire_timeout() {
    let change = |settings: &mut Settings| {
        settings.max_connections = 1;
        settings.acquire_timeout = Duration::from_secs(1);
        settings.hold_warning = Duration::from_millis(100);
    };
    let fixture = Fixture::with(change).await;
    let held = fixture.database.begin().await.unwrap();
    let error = soon(fixture.add("late")).await.unwrap_err();
    assert!(matches!(error, sqlx::Error::PoolTimedOut), "{error}");
    assert_eq!(ErrorKind::of(&error), ErrorKind::Unavailable);
    assert_eq!(fixture.status().waits.timeouts, 1);
    drop(held);
    fixture.add("in time").await.unwrap();
    let status = fixture.status();
    assert!(status.waits.held_long >= 1 && status.longest_hold_ms >= 1000);
}

#[tokio::test]
async fn no_statement_begins_after_the_deadline_of_its_request() {
    let fixture = Fixture::with(|settings| settings.max_connections = 1).await;
    let mut lease = fixture.database.read().checkout().await.unwrap();
    let too_late = async {
        let begun = sqlx::query("SELECT 1").execute(&mut lease).await;
        [fixture.add("late").await, begun.map(drop)]
    };
    for result in RequestContext::until(Instant::now()).scope(too_late).await {
        let kind = ErrorKind::of(&result.unwrap_err());
        assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout));
    }
    drop(lease);
    assert_eq!(fixture.count().await, 0);
}

#[tokio::test]
async fn close_names_the_holder_of_a_connection() {
    let fixture = Fixture::new().await;
    let held = fixture.database.begin().await.unwrap();
    let place = format!("suite.rs:{}", line!() - 1);
    let holders = fixture.status().holders;
    assert!(holders[0].contains(&place), "{holders:?}");

    let left = fixture.close(Duration::from_millis(50)).await;

    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].contains(&place), "{left:?}");
    let error = fixture.add("late").await.unwrap_err();
    assert!(matches!(error, sqlx::Error::PoolClosed), "{error}");
    drop(held);
    assert!(fixture.close(PATIENCE).await.is_empty());
}

#[tokio::test]
async fn close_cancels_running_statements() {
    let fixture = Fixture::new().await;
    let database = fixture.database.clone();
    let mut running = JoinSet::new();
    running.spawn(async move { sqlx::query(ENDLESS).execute(database.write()).await });
    while fixture.status().in_use == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    running.abort_all();
    assert!(soon(fixture.close(PATIENCE)).await.is_empty());
}

#[tokio::test]
async fn constraint_violation_names_the_column() {
    use ErrorKind::{AlreadyExists, Internal, Invalid, Reference};

    let fixture = Fixture::new().await;
    fixture.add("first").await.unwrap();
    let name = || Some("name".to_owned());
    for (row, expected) in [
        ("(id, name) VALUES (9, 'first')", AlreadyExists(name())),
        ("(id, name, size) VALUES (9, 'x', -1)", Invalid(None)),
        ("(id) VALUES (9)", Invalid(name())),
        ("(nothing) VALUES (1)", Internal),
        ("(id, name, part_of) VALUES (9, 'x', 77)", Reference(None)),
    ] {
        let insert = format!("INSERT INTO things {row}");
        let insert = sqlx::query(sqlx::AssertSqlSafe(insert));
        let error = insert.execute(fixture.database.write()).await.unwrap_err();
        let kind = match ErrorKind::of(&error) {
            // SQLite does not name the column.
            Reference(_) => Reference(None),
            kind => kind,
        };
        assert_eq!(kind, expected, "{row}");
    }
}
