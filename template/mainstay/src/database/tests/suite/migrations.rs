//! Schemas that processes bring up to date, together or one after the other.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::*;
use crate::database::errors::counted;

/// Migrations with these numbers, each of which makes a table.
fn migrations(numbers: &[i64]) -> Migrator {
    let migration = |number: &i64| named(*number, "table");
    Migrator::with_migrations(numbers.iter().map(migration).collect())
}

fn named(number: i64, description: &'static str) -> Migration {
    let sql = AssertSqlSafe(format!(
        "CREATE TABLE table_{number} (id INTEGER PRIMARY KEY)"
    ));
    let description = Cow::Borrowed(description);
    Migration::new(
        number,
        description,
        MigrationType::Simple,
        sql.into_sql_str(),
        false,
    )
}

/// As a migration of the machinery: its number, and its name.
fn of_machinery() -> Migrator {
    Migrator::with_migrations(vec![named(9001, "idempotency")])
}

/// A database that is not connected yet.
fn database(scratch: &Scratch<E>, migrators: &[&Migrator]) -> Database<E> {
    Database::new(&database_settings(scratch.url()), migrators).unwrap()
}

async fn connected(settings: &Settings<E>, migrators: &[&Migrator]) -> Database<E> {
    let database = Database::new(settings, migrators).unwrap();
    database.connect().await.unwrap();
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_migrate_once() {
    let scratch = Scratch::new();
    let mut starts = JoinSet::new();
    for _ in 0..3 {
        let database = database(&scratch, &[&migrations(&[1, 2, 3]), &of_machinery()]);
        starts.spawn(async move {
            database.connect().await?;
            database.migrate_or_verify().await?;
            assert!(database.close(Instant::now() + PATIENCE).await.is_empty());
            Ok::<_, Error>(())
        });
    }
    for started in starts.join_all().await {
        started.unwrap();
    }
}

#[tokio::test]
async fn a_migration_discards_no_connection() {
    let scratch = Scratch::<E>::new();
    let settings = database_settings(scratch.url());
    let database = connected(&settings, &[&migrations(&[1, 2])]).await;
    database.migrate().await.unwrap();
    database.ping().await.unwrap();
    let discarded = |numbers: &Numbers| {
        let waits = &numbers.waits;
        waits.discarded_unfinished + waits.discarded_broken + waits.discarded_dead
    };
    let numbers = database.numbers();
    assert_eq!(
        numbers.values().map(discarded).sum::<u64>(),
        0,
        "{numbers:?}"
    );
    assert!(database.close(Instant::now() + PATIENCE).await.is_empty());
}

#[tokio::test]
async fn a_start_that_may_not_migrate_counts_what_is_pending() {
    let scratch = Scratch::<E>::new();
    let mut settings = database_settings(scratch.url());
    let migrations = migrations(&[1, 2]);
    let first = connected(&settings, &[&migrations]).await;
    first.migrate().await.unwrap();
    settings.migrate_on_start = false;
    let database = connected(&settings, &[&migrations]).await;
    database.migrate_or_verify().await.unwrap();
    let last = "DELETE FROM _sqlx_migrations WHERE version = 2";
    sqlx::query(last).execute(database.write()).await.unwrap();
    let refused = database.migrate_or_verify().await.unwrap_err().to_string();
    assert!(refused.contains("lacks 1 migration,"), "{refused}");
}

#[test]
fn migrations_are_counted_in_words() {
    let words = [0, 1, 2].map(counted);
    assert_eq!(words, ["0 migrations", "1 migration", "2 migrations"]);
}

#[tokio::test]
async fn a_newer_schema_is_refused_unless_it_is_tolerated() {
    let scratch = Scratch::<E>::new();
    let mut settings = database_settings(scratch.url());
    let migrations = migrations(&[1, 2]);
    let database = connected(&settings, &[&migrations]).await;
    database.migrate_or_verify().await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    sqlx::query(newer).execute(database.write()).await.unwrap();

    let refused = database.migrate_or_verify().await.unwrap_err();
    assert!(refused.to_string().contains("9999"), "{refused}");
    let refused = database.migrate().await.unwrap_err();
    assert!(refused.to_string().contains("9999"), "{refused}");

    settings.unknown_migrations = UnknownMigrations::Tolerate;
    let tolerant = connected(&settings, &[&migrations]).await;
    tolerant.migrate_or_verify().await.unwrap();
    tolerant.migrate().await.unwrap();
    assert_eq!(tolerant.pending().await.unwrap(), 0);
}

#[tokio::test]
async fn a_schema_outlives_the_part_that_made_its_table() {
    let scratch = Scratch::<E>::new();
    let settings = database_settings(scratch.url());
    let own = migrations(&[1, 2]);
    let with_part = connected(&settings, &[&own, &of_machinery()]).await;
    with_part.migrate_or_verify().await.unwrap();

    let without = connected(&settings, &[&own]).await;
    without.migrate_or_verify().await.unwrap();
    without.migrate().await.unwrap();

    // The service's own next migration is applied, though its number is a smaller one.
    let grown = connected(&settings, &[&migrations(&[1, 2, 3])]).await;
    assert_eq!(grown.pending().await.unwrap(), 1);
    grown.migrate().await.unwrap();
    assert_eq!(grown.pending().await.unwrap(), 0);

    // The part may come back.
    let again = connected(&settings, &[&migrations(&[1, 2, 3]), &of_machinery()]).await;
    assert_eq!(again.pending().await.unwrap(), 0);
}

#[tokio::test]
async fn a_migration_that_was_edited_is_refused() {
    let scratch = Scratch::<E>::new();
    let settings = database_settings(scratch.url());
    let before = connected(&settings, &[&migrations(&[1, 2])]).await;
    before.migrate().await.unwrap();
    let mut edited = named(2, "table");
    edited.checksum = Cow::Borrowed(b"another");
    let edited = Migrator::with_migrations(vec![named(1, "table"), edited]);
    let edited = connected(&settings, &[&edited]).await;
    let refused = edited.migrate().await.unwrap_err();
    assert!(refused.to_string().contains("checksum"), "{refused}");
}

#[test]
fn migrations_are_merged_by_their_numbers() {
    let scratch = Scratch::<E>::new();
    let merged = database(
        &scratch,
        &[&of_machinery(), &migrations(&[20_260_101, 2, 1])],
    );
    let numbers: Vec<_> = merged.migrations.iter().map(|one| one.version).collect();
    assert_eq!(numbers, [1, 2, 9001, 20_260_101]);
}

#[test]
#[should_panic(expected = "two migrations have the number 2")]
fn two_migrations_with_one_number_are_a_mistake() {
    let scratch = Scratch::<E>::new();
    database(&scratch, &[&migrations(&[1, 2]), &migrations(&[2, 3])]);
}

#[test]
#[should_panic(expected = "the migration 9002 has a number of the machinery's: 9000 to 9999")]
fn a_service_does_not_take_a_number_of_the_machinery() {
    let scratch = Scratch::<E>::new();
    database(&scratch, &[&migrations(&[1, 9002])]);
}

#[test]
#[should_panic(expected = "the migration 9001 has a number of the machinery's")]
fn a_number_of_the_machinery_comes_with_its_name() {
    let scratch = Scratch::<E>::new();
    database(&scratch, &[&migrations(&[1, 9001])]);
}
