//! The limits of stored answers: time, number and size.

use super::*;

#[tokio::test]
async fn expired_answers_are_removed_in_batches() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.send("new", "a").await.status, 201);
    let old = "INSERT INTO idempotency (route, caller, key, request, status, head, body, kept_at)
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)
         SELECT route, caller, 'old ' || n, request, status, head, body, kept_at - 3601
         FROM idempotency, numbers";
    let keys = &fixture.service.keys;
    sqlx::query(old)
        .execute(keys.database().write())
        .await
        .unwrap();
    let mut removed = Vec::new();
    for _ in 0..4 {
        removed.push(keys.remove_batch().await.unwrap());
    }
    assert_eq!(removed, [1000, 1000, 500, 0]);
    assert_eq!(fixture.kept().await, 1);
    assert!(fixture.send("new", "a").await.replayed);
}

#[tokio::test]
async fn answers_never_exceed_max_answers() {
    let fixture = Fixture::with(|settings| settings.max_answers = 2).await;
    assert_eq!(fixture.send("one", "a").await.status, 201);
    assert_eq!(fixture.send("two", "b").await.status, 201);
    let refused = fixture.send("three", "c").await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (503, "unavailable")
    );
    assert_eq!((fixture.things().await, fixture.kept().await), (2, 2));
    // A retry needs no room, nor does a request without a key.
    assert!(fixture.send("one", "a").await.replayed);
    assert_eq!(fixture.send("", "d").await.status, 201);

    let removed = sqlx::query("DELETE FROM idempotency WHERE key = 'one'");
    let keys = &fixture.service.keys;
    removed.execute(keys.database().write()).await.unwrap();
    keys.count().await.unwrap();
    assert_eq!(fixture.send("three", "c").await.status, 201);
}

#[tokio::test]
async fn answer_too_long_to_keep_undoes_its_effect() {
    let fixture = Fixture::with(|settings| settings.answer_limit = ByteSize(10)).await;
    let failed = fixture.send("one", "a").await;
    assert_eq!((failed.status, failed.code.as_str()), (500, "internal"));
    assert_eq!((fixture.things().await, fixture.kept().await), (0, 0));
    assert_eq!(fixture.send("", "a").await.status, 201);
}
