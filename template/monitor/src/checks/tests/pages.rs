//! Pages of results, and their retention.

use serde_json::{Value, json};

use super::*;

/// A target with this many results, one a second, the first at 1 s.
pub(super) async fn with_results(fixture: &Fixture, count: i64) -> i64 {
    let target = fixture.watched.add(1).await[0];
    fixture.replica(10).takes(Timestamp(0)).await;
    let mut transaction = fixture.watched.database.begin().await.unwrap();
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
async fn pages_have_every_result_once_newest_first() {
    let fixture = Fixture::new().await;
    let target = with_results(&fixture, 25).await;
    let mut next = Some(format!("/v1/targets/{target}/checks?limit=10"));
    let mut found = Vec::new();
    for length in [10, 10, 5] {
        let (head, body) = fixture.get(&next.take().unwrap()).await;
        assert_eq!(head.status, StatusCode::OK);
        let page: Value = serde_json::from_slice(&body).unwrap();
        let checks = page["checks"].as_array().unwrap();
        assert_eq!(checks.len(), length);
        found.extend(checks.iter().map(|check| check["due_at"].clone()));
        next = page["next"].as_str().map(|next| {
            let path = format!("/v1/targets/{target}/checks?cursor={next}&limit=10");
            assert_eq!(head.headers["link"], format!("<{path}>; rel=\"next\""));
            path
        });
        assert_eq!(next.is_some(), head.headers.contains_key("link"));
    }
    assert_eq!(next, None, "the last page");
    let all = (1..=25).rev();
    let all: Vec<_> = all.map(|second| json!(Timestamp(second * 1000))).collect();
    assert_eq!(found, all);

    let (head, _) = fixture.get("/v1/targets/99/checks").await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn old_results_are_removed_in_batches() {
    let fixture = Fixture::new().await;
    let target = with_results(&fixture, 2500).await;
    let oldest = Timestamp(2400 * 1000);
    let mut removed = Vec::new();
    for _ in 0..4 {
        removed.push(fixture.history.remove_batch(oldest).await.unwrap());
    }
    assert_eq!(removed, [1000, 1000, 399, 0]);
    let left = fixture.results(target).await;
    assert_eq!(left.len(), 101);
    assert_eq!(left[100].due_at, oldest.0);
}
