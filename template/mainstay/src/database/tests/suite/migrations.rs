//! Migrations by several processes, together or one after the other.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::*;

/// Migrations with these numbers, each of which makes a table.
fn migrations(numbers: &[i64]) -> Migrator {
    let migration = |number: &i64| named(*number, "table");
    Migrator::with_migrations(numbers.iter().map(migration).collect())
}

fn named(number: i64, description: &'static str) -> Migration {
    let sql = format!("CREATE TABLE table_{number} (id INTEGER PRIMARY KEY)");
    let (kind, sql) = (MigrationType::Simple, AssertSqlSafe(sql).into_sql_str());
    Migration::new(number, description.into(), kind, sql, false)
}

/// A migration with the number and the name of one of the machinery.
fn machinery_migrations() -> Migrator {
    Migrator::with_migrations(vec![named(9001, "idempotency")])
}

async fn connected(settings: &Settings, migrators: &[&Migrator]) -> Database<E> {
    let database = Database::new(settings, migrators).unwrap();
    database.connect().await.unwrap();
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_migrate_once() {
    let scratch = E::scratch();
    let mut starts = JoinSet::new();
    for _ in 0..3 {
        let migrators = [&migrations(&[1, 2, 3]), &machinery_migrations()];
        let settings = database_settings(&scratch.url);
        let database = Database::<E>::new(&settings, &migrators).unwrap();
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
async fn newer_schema_is_refused_unless_tolerated() {
    let scratch = E::scratch();
    let mut settings = database_settings(&scratch.url);
    let migrations = migrations(&[1, 2]);
    let database = connected(&settings, &[&migrations]).await;
    database.migrate_or_verify().await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 99, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    sqlx::query(newer).execute(database.write()).await.unwrap();

    for refused in [database.migrate_or_verify().await, database.migrate().await] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("99"), "{refused}");
    }

    settings.unknown_migrations = UnknownMigrations::Tolerate;
    let tolerant = connected(&settings, &[&migrations]).await;
    tolerant.migrate_or_verify().await.unwrap();
    tolerant.migrate().await.unwrap();
    assert_eq!(tolerant.pending().await.unwrap(), 0);
}

#[tokio::test]
async fn edited_migration_is_refused() {
    let scratch = E::scratch();
    let settings = database_settings(&scratch.url);
    let before = connected(&settings, &[&migrations(&[1, 2])]).await;
    before.migrate().await.unwrap();
    let mut edited = named(2, "table");
    edited.checksum = Cow::Borrowed(b"another");
    let edited = Migrator::with_migrations(vec![named(1, "table"), edited]);
    let edited = connected(&settings, &[&edited]).await;
    let refused = edited.migrate().await.unwrap_err();
    assert!(refused.to_string().contains("modified"), "{refused}");
}

#[test]
fn migrations_are_merged_and_equal_numbers_panic() {
    let merge = |numbers: &[i64], also: &Migrator| {
        let own = migrations(numbers);
        std::panic::catch_unwind(|| crate::database::migrations::merged(&[&own, also]))
    };
    let merged = merge(&[20_260_101, 2, 1], &machinery_migrations()).unwrap();
    let numbers: Vec<_> = merged.iter().map(|one| one.version).collect();
    assert_eq!(numbers, [1, 2, 9001, 20_260_101]);
    let panic = merge(&[1, 3], &migrations(&[2, 3])).unwrap_err();
    let message = panic.downcast::<String>().unwrap();
    assert_eq!(*message, "two migrations have the number 3");
}

#[tokio::test]
async fn schema_works_without_the_feature_that_made_its_table() {
    let scratch = E::scratch();
    let settings = database_settings(&scratch.url);
    let (own, grown) = (migrations(&[1, 2]), migrations(&[1, 2, 3]));
    let part = machinery_migrations();
    // The service's own next migration is applied, though its number is a smaller one. The part may come back.
    for (migrators, pending) in [
        (&[&own, &part][..], 3),
        (&[&own], 0),
        (&[&grown], 1),
        (&[&grown, &part], 0),
    ] {
        let database = connected(&settings, migrators).await;
        assert_eq!(database.pending().await.unwrap(), pending);
        database.migrate_or_verify().await.unwrap();
    }
}
