//! What is kept of checks, and for how long.

use super::*;

/// A target with so many results, one each second, the first at 1 s.
async fn with_results(fixture: &Fixture, count: i64) -> i64 {
    let target = fixture.add(1).await[0];
    fixture.replica(10).takes(Moment(0)).await;
    let mut transaction = fixture.database.begin().await.unwrap();
    for n in 1..=count {
        let query = sqlx::query(
            "INSERT INTO checks (target_id, due_at, checked_at, reason, status, latency_ms)
             VALUES ($1, $2, $2, 'status', 404, 5)",
        );
        let query = query.bind(target).bind(n * 1000);
        query.execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
    target
}

#[tokio::test]
async fn pages_have_every_result_once_and_the_newest_first() {
    let fixture = Fixture::new().await;
    let target = with_results(&fixture, 25).await;
    let mut before = Moment(i64::MAX);
    let mut found = Vec::new();
    for length in [10, 10, 5, 0] {
        let page = fixture.history.page(target, before, 10).await.unwrap();
        assert_eq!(page.len(), length);
        before = page.last().map_or(before, |last| Moment(last.due_at));
        found.extend(page.iter().map(|kept| kept.due_at / 1000));
    }
    assert_eq!(found, (1..=25).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_old_goes_in_batches_and_what_is_not_stays() {
    let fixture = Fixture::new().await;
    let target = with_results(&fixture, 2500).await;
    let oldest = Moment(2400 * 1000);
    let mut removed = Vec::new();
    for _ in 0..4 {
        removed.push(fixture.history.forget_batch(oldest).await.unwrap());
    }
    assert_eq!(removed, [1000, 1000, 399, 0]);
    let left = fixture.results(target).await;
    assert_eq!(left.len(), 101);
    assert_eq!(left[100].due_at, oldest.0);
}
