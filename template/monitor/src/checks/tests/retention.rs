//! The retention of results.

use super::pages::with_results;
use super::*;

const RETENTION: Duration = Duration::from_hours(1);

const ALMOST: Duration = Duration::from_mins(50);

#[tokio::test]
async fn concurrent_retention_removes_all_old_rows() {
    let fixture = Fixture::new().await;
    let target = with_results(&fixture, 2500).await;
    let oldest = Timestamp(2400 * 1000);
    let all = [0, 1].map(|_| fixture.history.remove_old(oldest));

    for forgotten in futures_util::future::join_all(all).await {
        forgotten.unwrap();
    }
    // Rows that one process skipped because the other had locked them are removed as well.
    let left = fixture.results(target).await;
    assert_eq!(left.len(), 101);
    assert_eq!(left[100].due_at, oldest.0);
}

#[tokio::test]
async fn results_are_kept_for_the_configured_retention() {
    let fixture = Fixture::new().await;
    let target = with_results(&fixture, 2).await;
    let now = Timestamp::now();
    let minute = Duration::from_mins(1);
    let (old, young) = (now.before(RETENTION + minute), now.before(ALMOST));
    fixture
        .watched
        .run(format!(
            "UPDATE checks SET due_at = CASE WHEN due_at = 1000 THEN {} ELSE {} END",
            old.0, young.0
        ))
        .await;
    let supervisor = Supervisor::new();
    fixture
        .history
        .spawn_retention(&supervisor, RETENTION)
        .unwrap();

    let left = fixture.watched.after(2 * minute, async || {
        let left = fixture.results(target).await;
        (left.len() < 2).then_some(left)
    });

    let left = left.await;
    assert_eq!((left.len(), left[0].due_at), (1, young.0));
}
