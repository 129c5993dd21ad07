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
