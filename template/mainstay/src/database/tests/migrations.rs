//! Schemas that processes bring up to date, together or one after the other.

use super::*;

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
async fn a_migration_ends_its_connection_and_that_is_nothing_to_worry_about() {
    let scratch = Scratch::new();
    let database = Database::new(&settings(scratch.url())).unwrap();
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
    assert!(database.close(PATIENCE).await.is_empty());
}

#[tokio::test]
async fn a_start_that_may_not_migrate_says_how_much_there_is_to_do() {
    let scratch = Scratch::new();
    let mut settings = settings(scratch.url());
    Database::new(&settings).unwrap().migrate().await.unwrap();
    settings.migrate_on_start = false;
    let database = Database::new(&settings).unwrap();
    database.prepare().await.unwrap();
    let last = "DELETE FROM _sqlx_migrations WHERE version = 9001";
    sqlx::query(last).execute(database.write()).await.unwrap();
    let refused = database.prepare().await.unwrap_err().to_string();
    assert!(refused.contains("lacks 1 migration,"), "{refused}");
}

#[test]
fn migrations_are_counted_in_words() {
    let words = [0, 1, 2].map(counted);
    assert_eq!(words, ["0 migrations", "1 migration", "2 migrations"]);
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
