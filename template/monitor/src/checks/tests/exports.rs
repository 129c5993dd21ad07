//! Exports of all results of a target.

use futures_util::StreamExt;
use serde_json::Value;

use super::pages::with_results;
use super::*;
use crate::checks::export::{Export, Span};

fn lines(body: &Bytes) -> Vec<Value> {
    let lines = std::str::from_utf8(body).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn all() -> Span {
    serde_json::from_str("{}").unwrap()
}

/// The due times, in seconds.
fn seconds(lines: &[Value]) -> Vec<i64> {
    let due = lines.iter().map(|line| line["due_at"].clone());
    due.map(|due| serde_json::from_value::<Timestamp>(due).unwrap().0 / 1000)
        .collect()
}

#[tokio::test]
async fn export_has_every_result_once_as_in_the_list() {
    let fixture = Fixture::new().await;
    // One result less than a chunk, a chunk, and more: nothing is lost or repeated between chunks.
    for count in [999, 1000, 1001, 2500] {
        let target = with_results(&fixture, count).await;
        let (head, body) = fixture
            .get(&format!("/v1/targets/{target}/checks.ndjson"))
            .await;
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.headers["content-type"], "application/x-ndjson");
        let lines = lines(&body);
        assert_eq!(seconds(&lines), (1..=count).rev().collect::<Vec<_>>());
        let (_, page) = fixture
            .get(&format!("/v1/targets/{target}/checks?limit=100"))
            .await;
        let page: Value = serde_json::from_slice(&page).unwrap();
        assert_eq!(lines[..100], page["checks"].as_array().unwrap()[..]);
        fixture.watched.run("DELETE FROM targets").await;
    }
}

#[tokio::test]
async fn export_keeps_its_bounds_and_refuses_wrong_ones() {
    let fixture = Fixture::new().await;
    let target = with_results(&fixture, 60).await;
    let get = async |query: &str| {
        let path = format!("/v1/targets/{target}/checks.ndjson?{query}");
        fixture.get(&path).await
    };
    let bounds = "since=1970-01-01T00:00:10Z&before=1970-01-01T01:00:20%2B01:00";
    let (_, body) = get(bounds).await;
    assert_eq!(seconds(&lines(&body)), (10..20).rev().collect::<Vec<_>>());
    let (head, body) = get("since=1970-01-01T00:01:01Z").await;
    assert_eq!((head.status, body.len()), (StatusCode::OK, 0));

    for (query, parameter) in [
        ("since=now", "since"),
        ("before=1", "before"),
        ("limit=1", "limit"),
    ] {
        let (head, body) = get(query).await;
        assert_eq!(head.status, StatusCode::BAD_REQUEST, "{query}");
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["errors"][0]["parameter"], parameter);
    }
    let (head, _) = fixture.get("/v1/targets/99/checks.ndjson").await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn export_reads_on_demand_and_holds_no_connection() {
    let fixture = Fixture::new().await;
    let target = with_results(&fixture, 5000).await;
    let export = Export::begin(fixture.history.clone(), target, all())
        .await
        .unwrap();
    let mut stream = std::pin::pin!(export.lines());
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(lines(&first).len(), 1000);
    assert_eq!(fixture.watched.database.holders(), [""; 0]);

    // If more had been read, it would still come.
    fixture.watched.run("DELETE FROM checks").await;
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn export_that_fails_midway_does_not_end_as_if_complete() {
    let fixture = Fixture::new().await;
    let target = with_results(&fixture, 1500).await;
    let export = Export::begin(fixture.history.clone(), target, all())
        .await
        .unwrap();
    fixture
        .watched
        .run("ALTER TABLE checks RENAME TO gone")
        .await;
    let mut stream = std::pin::pin!(export.lines());
    assert!(stream.next().await.unwrap().is_ok());
    assert!(stream.next().await.unwrap().is_err());
    assert!(stream.next().await.is_none());

    // The first error is a problem.
    let (head, _) = fixture
        .get(&format!("/v1/targets/{target}/checks.ndjson"))
        .await;
    assert_eq!(head.status, StatusCode::INTERNAL_SERVER_ERROR);
}
