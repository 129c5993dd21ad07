//! The pool of sqlx, for crates that take one by its type.

use super::*;

#[tokio::test]
async fn sqlx_pool_has_the_settings_and_metrics_of_the_database() {
    let fixture = Fixture::with(|settings| settings.max_connections = 1).await;
    assert!(!fixture.database.status().contains_key("sqlx"));
    let pool = fixture.database.sqlx_pool();
    let held = pool.acquire().await.unwrap();
    let status = &fixture.database.status()["sqlx"];
    assert_eq!((status.max, status.in_use, status.idle), (1, 1, 0));
    drop(held);
    fixture.add("first").await.unwrap();
    let query = sqlx::query_scalar("SELECT count(*) FROM things");
    let count: i64 = query.fetch_one(&pool).await.unwrap();
    assert_eq!(count, 1);
    // Foreign keys are checked, as by our own connections.
    let orphan = sqlx::query("INSERT INTO things (id, name, part_of) VALUES (9, 'x', 77)");
    orphan.execute(&pool).await.unwrap_err();
}

#[tokio::test]
async fn sqlx_pool_writes_wait_for_our_transaction() {
    let fixture = Fixture::with(|settings| settings.acquire_timeout = PATIENCE).await;
    let mut transaction = fixture.database.begin().await.unwrap();
    insert(&mut *transaction, 1, "ours").await.unwrap();
    let pool = fixture.database.sqlx_pool();
    let mut writer = JoinSet::new();
    writer.spawn(async move { insert(&pool, 2, "theirs").await });
    while fixture.database.status()["sqlx"].size == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    // On SQLite, it cannot end before the transaction.
    sleep(Duration::from_millis(50)).await;
    transaction.commit().await.unwrap();
    writer.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(fixture.count().await, 2);
}

#[tokio::test]
async fn sqlx_pool_closes_with_the_database() {
    let fixture = Fixture::new().await;
    let pool = fixture.database.sqlx_pool();
    let held = pool.acquire().await.unwrap();
    let left = fixture.close(Duration::from_millis(50)).await;
    assert_eq!(left, ["connections of sqlx_pool: 1"]);
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, sqlx::Error::PoolClosed), "{error}");
    drop(held);
    assert!(fixture.close(PATIENCE).await.is_empty());
    assert_eq!(pool.size(), 0);
}
