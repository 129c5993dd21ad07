//! The database under bad treatment. All of this holds for every engine; what one of them has to
//! itself is beside it.

use std::panic::Location;
use std::time::Duration;

use futures_util::StreamExt;
use sqlx::Row;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::scratch::Scratch;

mod statements;

/// Longer than anything here takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps a connection busy for longer than any test.
const ENDLESS: &str = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) \
     SELECT count(*) FROM numbers";

/// A database with a table, and settings that do not wait for long.
pub(super) struct Fixture {
    pub(super) database: Database,
    pub(super) scratch: Scratch,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let scratch = Scratch::new();
        let mut settings = settings(scratch.url());
        change(&mut settings);
        let database = Database::new(&settings).unwrap();
        database.reach().await.unwrap();
        let table = "CREATE TABLE things (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            size INTEGER CONSTRAINT things_size_check CHECK (size > 0),
            part_of INTEGER REFERENCES things (id)
        )";
        sqlx::query(table).execute(database.write()).await.unwrap();
        Self { database, scratch }
    }

    pub(super) async fn add(&self, name: &str) -> Result<(), sqlx::Error> {
        let query =
            sqlx::query("INSERT INTO things (id, name) VALUES ((SELECT count(*) FROM things), $1)");
        let added = query.bind(name).execute(self.database.write()).await;
        added.map(drop)
    }

    pub(super) async fn count(&self) -> i64 {
        let query = sqlx::query_scalar("SELECT count(*) FROM things");
        query.fetch_one(self.database.read()).await.unwrap()
    }

    /// The pool that writes.
    fn numbers(&self) -> Numbers {
        let numbers = self.database.numbers();
        numbers.into_values().next_back().unwrap()
    }

    /// Waits until nobody has a connection.
    async fn rest(&self) {
        let rest = async {
            while self.numbers().in_use > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, rest).await.unwrap();
    }
}

fn settings(url: &str) -> Settings {
    Settings {
        url: crate::frame::settings::Setting::parse(&url.into()).unwrap(),
        max_connections: 2,
        acquire_timeout: Duration::from_secs(2),
        statement_timeout: Duration::from_secs(5),
        max_lifetime: Duration::from_mins(30),
        hold_warning: Duration::from_secs(5),
        on_start: OnStart::Wait,
        migrate_on_start: true,
        migrate_timeout: PATIENCE,
        unknown_migrations: Unknown::Refuse,
    }
}

#[tokio::test]
async fn a_connection_serves_one_after_the_other() {
    let fixture = Fixture::new().await;
    for number in 0..10 {
        fixture.add(&number.to_string()).await.unwrap();
    }
    assert_eq!(fixture.count().await, 10);
    let numbers = fixture.numbers();
    assert_eq!((numbers.size, numbers.idle, numbers.in_use), (1, 1, 0));
    assert_eq!(numbers.waits.timeouts, 0);
}

#[tokio::test]
async fn a_transaction_takes_effect_as_a_whole_or_not_at_all() {
    let fixture = Fixture::new().await;
    for (name, commits) in [("kept", true), ("undone", false)] {
        let mut transaction = fixture.database.begin().await.unwrap();
        let query = sqlx::query("INSERT INTO things (id, name) VALUES ($1, $2)");
        let query = query.bind(10 + i32::from(commits)).bind(name);
        query.execute(&mut *transaction).await.unwrap();
        if commits {
            transaction.commit().await.unwrap();
        }
    }
    // Nobody has the connection before it was tidied.
    fixture.rest().await;
    fixture.add("next").await.unwrap();
    let query = sqlx::query_scalar("SELECT name FROM things ORDER BY name");
    let names: Vec<String> = query.fetch_all(fixture.database.read()).await.unwrap();
    assert_eq!(names, ["kept", "next"]);
    assert_eq!(
        fixture.numbers().size,
        1,
        "the connection was of further use"
    );
}

#[tokio::test]
async fn a_transaction_in_which_a_statement_has_failed_is_never_committed() {
    let fixture = Fixture::new().await;
    fixture.add("first").await.unwrap();
    let mut transaction = fixture.database.begin().await.unwrap();
    let fine = sqlx::query("INSERT INTO things (id, name) VALUES (7, 'second')");
    fine.execute(&mut *transaction).await.unwrap();
    let twice = sqlx::query("INSERT INTO things (id, name) VALUES (8, 'first')");
    twice.execute(&mut *transaction).await.unwrap_err();

    let refused = transaction.commit().await.unwrap_err();

    assert!(refused.to_string().contains("failed"), "{refused}");
    fixture.rest().await;
    assert_eq!(fixture.count().await, 1);
}

#[tokio::test]
async fn after_a_failed_statement_a_transaction_takes_no_other() {
    let fixture = Fixture::new().await;
    fixture.add("first").await.unwrap();
    let mut transaction = fixture.database.begin().await.unwrap();
    let twice = sqlx::query("INSERT INTO things (id, name) VALUES (8, 'first')");
    twice.execute(&mut *transaction).await.unwrap_err();
    let next = sqlx::query("INSERT INTO things (id, name) VALUES (9, 'next')");
    next.execute(&mut *transaction).await.unwrap_err();
    drop(transaction);
    fixture.rest().await;
    assert_eq!(fixture.count().await, 1);
}

#[tokio::test]
async fn statements_that_fail_between_their_own_begin_and_commit_are_undone() {
    let fixture = Fixture::with(|settings| settings.max_connections = 1).await;
    fixture.add("first").await.unwrap();
    let several = sqlx::raw_sql(
        "BEGIN; INSERT INTO things (id, name) VALUES (8, 'next');
         INSERT INTO things (id, name) VALUES (9, 'first'); COMMIT",
    );
    several.execute(fixture.database.write()).await.unwrap_err();
    fixture.rest().await;
    // An error of the next one is allowed, and not of the one after it.
    _ = fixture.add("second").await;
    fixture.rest().await;
    let query = sqlx::query("INSERT INTO things (id, name) VALUES (20, 'third')");
    query.execute(fixture.database.write()).await.unwrap();
    let third = sqlx::query("SELECT 1 FROM things WHERE name = 'next'");
    assert!(
        third
            .fetch_optional(fixture.database.read())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_row_that_is_returned_is_there() {
    let fixture = Fixture::new().await;
    // The key is looked at when the statement is committed, after its row has come out.
    let table = "CREATE TABLE parts (
        id INTEGER PRIMARY KEY,
        thing INTEGER NOT NULL REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED
    )";
    let made = sqlx::query(table).execute(fixture.database.write()).await;
    made.unwrap();
    let orphan = sqlx::query("INSERT INTO parts (id, thing) VALUES (1, 77) RETURNING id");
    let returned = orphan.fetch_optional(fixture.database.write()).await;
    assert!(returned.is_err(), "a row that is not there");
    let parts: i64 = sqlx::query_scalar("SELECT count(*) FROM parts")
        .fetch_one(fixture.database.read())
        .await
        .unwrap();
    assert_eq!(parts, 0);
}

#[tokio::test]
async fn whoever_gives_up_a_begin_leaves_nothing_behind() {
    let fixture = Fixture::new().await;
    for number in 0..200_u64 {
        let patience = Duration::from_micros(number * 7 % 400);
        let begun = timeout(patience, fixture.database.begin()).await;
        drop(begun);
        if number % 10 == 0 {
            fixture.add(&number.to_string()).await.unwrap();
        }
    }
    fixture.rest().await;
    assert_eq!(
        fixture.count().await,
        20,
        "what was written is there for everybody"
    );
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_ended_and_its_connection_free_again() {
    let fixture = Fixture::with(|settings| settings.max_connections = 1).await;
    let endless = sqlx::query(ENDLESS).execute(fixture.database.write());
    let given_up = timeout(Duration::from_millis(50), endless).await;
    assert!(given_up.is_err(), "{given_up:?}");

    let began = Instant::now();
    fixture.add("next").await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_and_called_too_slow() {
    let fixture =
        Fixture::with(|settings| settings.statement_timeout = Duration::from_millis(100)).await;
    let began = Instant::now();
    let endless = sqlx::query(ENDLESS).execute(fixture.database.write());
    let error = timeout(PATIENCE, endless).await.unwrap().unwrap_err();
    assert_eq!(Refusal::of(&error), Refusal::TooSlow, "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    fixture.add("next").await.unwrap();
}

#[tokio::test]
async fn whoever_waits_too_long_for_a_connection_is_told_so() {
    let fixture = Fixture::with(|settings| {
        settings.max_connections = 1;
        settings.acquire_timeout = Duration::from_millis(200);
    })
    .await;
    let held = fixture.database.begin().await.unwrap();
    let began = Instant::now();
    let error = fixture.add("late").await.unwrap_err();
    assert!(matches!(error, sqlx::Error::PoolTimedOut), "{error}");
    assert_eq!(Refusal::of(&error), Refusal::Unavailable);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(fixture.numbers().waits.timeouts, 1);
    drop(held);
    fixture.add("in time").await.unwrap();
}

#[tokio::test]
async fn rows_that_are_read_half_way_do_not_spoil_the_connection() {
    let fixture = Fixture::with(|settings| settings.max_connections = 1).await;
    for number in 0..3 {
        fixture.add(&number.to_string()).await.unwrap();
    }
    for _ in 0..3 {
        let mut rows =
            sqlx::query("SELECT name FROM things ORDER BY id").fetch(fixture.database.read());
        let first = rows.next().await.unwrap().unwrap();
        assert_eq!(first.get::<String, _>("name"), "0");
    }
    assert_eq!(fixture.count().await, 3);
}

#[tokio::test]
async fn a_close_names_who_still_has_a_connection() {
    let fixture = Fixture::new().await;
    let held = fixture.database.begin().await.unwrap();
    let line = Location::caller().line() - 1;

    let left = fixture.database.close(Duration::from_millis(50)).await;

    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].contains(&format!("tests.rs:{line}")), "{left:?}");
    let error = fixture.add("late").await.unwrap_err();
    assert!(matches!(error, sqlx::Error::PoolClosed), "{error}");
    drop(held);
    let left = fixture.database.close(PATIENCE).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_close_ends_what_is_running() {
    let fixture = Fixture::new().await;
    let database = fixture.database.clone();
    let mut running = JoinSet::new();
    running.spawn(async move { sqlx::query(ENDLESS).execute(database.write()).await });
    while fixture.numbers().in_use == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    running.abort_all();

    let began = Instant::now();
    let left = fixture.database.close(PATIENCE).await;

    assert!(left.is_empty(), "{left:?}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn no_connection_outlives_its_time() {
    let fixture = Fixture::with(|settings| settings.max_lifetime = Duration::from_secs(1)).await;
    fixture.add("first").await.unwrap();
    sleep(Duration::from_millis(1100)).await;
    fixture.add("second").await.unwrap();
    assert_eq!(fixture.numbers().waits.discarded_old, 1);
    assert_eq!(fixture.numbers().size, 1);
}

#[tokio::test]
async fn whoever_keeps_a_connection_for_long_is_noticed_once() {
    let fixture = Fixture::with(|settings| settings.hold_warning = Duration::from_millis(10)).await;
    let supervisor = Supervisor::new();
    fixture.database.tended_by(&supervisor).unwrap();
    let held = fixture.database.begin().await.unwrap();
    let noticed = async {
        while fixture.numbers().waits.held_long == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, noticed).await.unwrap();
    let tended = supervisor.statuses()[0].runs;
    while supervisor.statuses()[0].runs <= tended + 1 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fixture.numbers().waits.held_long, 1);
    assert!(fixture.numbers().longest_hold_ms >= 10);
    drop(held);
}

#[tokio::test]
async fn a_refusal_names_the_field() {
    let fixture = Fixture::new().await;
    fixture.add("first").await.unwrap();
    let some = |field: &str| Some(field.to_owned());
    for (statement, refusal) in [
        (
            "INSERT INTO things (id, name) VALUES (9, 'first')",
            Refusal::Taken {
                field: some("name"),
            },
        ),
        (
            "INSERT INTO things (id, name, size) VALUES (9, 'x', -1)",
            Refusal::Invalid {
                field: some("size"),
            },
        ),
        (
            "INSERT INTO things (id) VALUES (9)",
            Refusal::Invalid {
                field: some("name"),
            },
        ),
        ("INSERT INTO nothing VALUES (1)", Refusal::Internal),
    ] {
        let error = sqlx::query(statement)
            .execute(fixture.database.write())
            .await;
        assert_eq!(Refusal::of(&error.unwrap_err()), refusal, "{statement}");
    }
    let orphan = "INSERT INTO things (id, name, part_of) VALUES (9, 'x', 77)";
    let error = sqlx::query(orphan).execute(fixture.database.write()).await;
    let refusal = Refusal::of(&error.unwrap_err());
    assert!(matches!(refusal, Refusal::Related { .. }), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_at_once_wait_for_each_other_and_none_fails() {
    let fixture = Fixture::with(|settings| settings.acquire_timeout = PATIENCE).await;
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let database = fixture.database.clone();
        writers.spawn(async move {
            for number in 0..20 {
                let mut transaction = database.begin().await?;
                let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM things")
                    .fetch_one(&mut *transaction)
                    .await?;
                assert!(seen >= 0);
                let query = sqlx::query("INSERT INTO things (id, name) VALUES ($1, $2)");
                let query = query
                    .bind(writer * 100 + number)
                    .bind(format!("{writer} {number}"));
                query.execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
            Ok::<_, sqlx::Error>(())
        });
    }
    for written in writers.join_all().await {
        written.unwrap();
    }
    assert_eq!(fixture.count().await, 320);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_migrate_once() {
    let scratch = Scratch::new();
    let mut starts = JoinSet::new();
    for _ in 0..3 {
        let settings = settings(scratch.url());
        starts.spawn(async move {
            let database = Database::new(&settings).unwrap();
            database.reach().await?;
            database.prepare().await?;
            assert!(database.close(PATIENCE).await.is_empty());
            Ok::<_, Error>(())
        });
    }
    for started in starts.join_all().await {
        started.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_a_newer_version_has_migrated_is_refused_unless_that_is_wanted() {
    let scratch = Scratch::new();
    let mut settings = settings(scratch.url());
    let database = Database::new(&settings).unwrap();
    database.prepare().await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    sqlx::query(newer).execute(database.write()).await.unwrap();

    let refused = database.prepare().await.unwrap_err();
    assert!(refused.to_string().contains("9999"), "{refused}");
    let refused = database.migrate().await.unwrap_err();
    assert!(refused.to_string().contains("9999"), "{refused}");

    settings.unknown_migrations = Unknown::Tolerate;
    let tolerant = Database::new(&settings).unwrap();
    tolerant.prepare().await.unwrap();
    tolerant.migrate().await.unwrap();
    assert_eq!(tolerant.pending().await.unwrap(), 0);
}
