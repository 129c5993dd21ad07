//! Which process makes which check, and when.

use std::collections::BTreeSet;

use super::super::queue::Lane;
use super::super::schedule::Requested;
use super::*;

/// Just before a lease expires.
const ALMOST: Duration = HELD.saturating_sub(Duration::from_millis(1));

fn targets(taken: &[Due]) -> BTreeSet<i64> {
    taken.iter().map(|due| due.target).collect()
}

#[tokio::test]
async fn new_target_is_due_at_once_and_claimed_once() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let (mut one, mut other) = (fixture.replica(10), fixture.replica(10));
    let now = Timestamp::now();

    let taken = one.takes(now).await;

    assert_eq!(
        (taken.len(), taken[0].target, taken[0].at),
        (1, target, now)
    );
    assert_eq!(taken[0].interval, Duration::from_mins(1));
    for later in [now, now.after(ALMOST)] {
        assert!(one.takes(later).await.is_empty());
        assert!(other.takes(later).await.is_empty());
    }
}

#[tokio::test]
async fn concurrent_schedulers_claim_different_checks() {
    let fixture = Fixture::new().await;
    let all: BTreeSet<_> = fixture.watched.add(250).await.into_iter().collect();
    let mut replicas = [0, 1, 2].map(|_| fixture.replica(250));
    let now = Timestamp::now();

    let commit = replicas.each_mut().map(|replica| replica.takes(now));
    let taken = futures_util::future::join_all(commit).await;

    let taken: Vec<_> = taken.into_iter().flatten().collect();
    assert_eq!(taken.len(), targets(&taken).len(), "none twice");
    // Locked rows are skipped, so that no process waits.
    let mut found = targets(&taken);
    for replica in &mut replicas {
        let rest = replica.takes(now).await;
        assert!(targets(&rest).is_disjoint(&found));
        found.extend(targets(&rest));
    }
    assert_eq!(found, all);
}

#[tokio::test]
async fn expired_lease_is_taken_over_and_late_results_dropped() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let (mut dead, mut other) = (fixture.replica(10), fixture.replica(10));
    let now = Timestamp::now();
    let first = dead.takes(now).await.remove(0);

    let second = other.takes(now.after(HELD)).await.remove(0);
    assert_eq!(
        (second.target, second.at),
        (target, first.at),
        "the same check"
    );
    fixture.write(up(&second)).await;
    fixture.write(up(&first)).await;

    assert_eq!(fixture.results(target).await.len(), 1);
}

#[tokio::test]
async fn replica_with_a_slow_clock_takes_nothing_just_checked() {
    let fixture = Fixture::new().await;
    fixture.watched.add(1).await;
    let (mut one, mut other) = (fixture.replica(10), fixture.replica(10));
    let now = Timestamp::now();
    let due = one.takes(now).await.remove(0);
    fixture.write(up(&due)).await;
    let behind = LEASE.saturating_sub(Duration::from_millis(1));
    assert!(other.takes(now.before(behind)).await.is_empty());

    // A due time far in the future, from a wrong clock, is corrected.
    fixture
        .watched
        .run("UPDATE schedule SET due_at = due_at + 600000")
        .await;
    assert_eq!(other.takes(now).await.len(), 1);
}

#[tokio::test]
async fn nothing_is_claimed_without_room() {
    let fixture = Fixture::new().await;
    fixture.watched.add(5).await;
    let replica = fixture.replica(2);
    let now = Timestamp::now();
    replica.run_once(now).await;
    replica.run_once(now).await;

    // Unclaimed checks are left to another process.
    assert_eq!(fixture.replica(10).takes(now).await.len(), 3);
    assert_eq!(replica.queue.room(Lane::Scheduled), 0);
}

#[tokio::test]
async fn lease_includes_the_timeout_of_the_target() {
    let fixture = Fixture::new().await;
    fixture.watched.add(1).await;
    let slow = Duration::from_mins(5);
    fixture
        .watched
        .run("UPDATE targets SET interval_seconds = 600, timeout_seconds = 300")
        .await;
    let (mut one, mut other) = (fixture.replica(10), fixture.replica(10));
    let (now, began) = (Timestamp::now(), Instant::now());

    let due = one.takes(now).await.remove(0);

    assert_eq!(due.timeout, slow);
    assert!(due.deadline - began >= slow + LEASE / 2);
    let until = now.after(LEASE + slow);
    let almost = until.before(Duration::from_millis(1));
    assert!(other.takes(almost).await.is_empty());
    assert_eq!(other.takes(until).await.len(), 1);
}

#[tokio::test]
async fn result_is_stored_and_the_next_check_scheduled() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let mut replica = fixture.replica(10);
    let now = Timestamp::now();
    let due = replica.takes(now).await.remove(0);

    fixture.write(up(&due)).await;

    let kept = fixture.results(target).await;
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].due_at, kept[0].status), (now.0, Some(200)));
    assert_eq!((kept[0].latency_ms, &kept[0].reason), (12, &None));
    assert!(
        replica
            .takes(now.after(Duration::from_secs(56)))
            .await
            .is_empty()
    );
    assert_eq!(
        replica
            .takes(now.after(Duration::from_secs(64)))
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn missed_checks_are_made_once() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let mut replica = fixture.replica(10);
    let long_ago = Timestamp::now().before(Duration::from_hours(10));
    let due = replica.takes(long_ago).await.remove(0);

    fixture.write(up(&due)).await;

    assert!(replica.takes(Timestamp::now()).await.is_empty());
    let next = Timestamp::now().after(Duration::from_secs(64));
    assert_eq!(replica.takes(next).await.len(), 1);
    assert_eq!(fixture.results(target).await.len(), 1);
}

#[tokio::test]
async fn postponed_check_is_due_soon_and_has_no_result() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let mut replica = fixture.replica(10);
    let now = Timestamp::now();
    let due = replica.takes(now).await.remove(0);
    let end = End::Postponed;
    fixture
        .write(Report {
            due: due.clone(),
            end,
        })
        .await;

    // Any time after this.
    assert!(replica.takes(now).await.is_empty());
    let again = replica
        .takes(Timestamp::now().after(Duration::from_secs(3)))
        .await;

    assert_eq!(again[0].at, due.at);
    assert!(fixture.results(target).await.is_empty());
}

#[tokio::test]
async fn disabled_targets_rest_and_shorter_intervals_hold_at_once() {
    let fixture = Fixture::new().await;
    fixture.watched.add(1).await;
    let mut replica = fixture.replica(10);
    let now = Timestamp::now();
    fixture
        .watched
        .run("UPDATE targets SET enabled = NOT enabled")
        .await;
    assert!(replica.takes(now).await.is_empty());

    fixture
        .watched
        .run("UPDATE targets SET enabled = NOT enabled, interval_seconds = 3600")
        .await;
    let due = replica.takes(now).await.remove(0);
    fixture.write(up(&due)).await;
    assert!(replica.takes(now.after(HELD)).await.is_empty());

    fixture
        .watched
        .run("UPDATE targets SET interval_seconds = 10")
        .await;
    assert_eq!(replica.takes(now.after(HELD)).await.len(), 1);
}

#[tokio::test]
async fn removed_target_takes_its_results_and_blocks_no_other() {
    let fixture = Fixture::new().await;
    let all = fixture.watched.add(2).await;
    let mut replica = fixture.replica(10);
    let now = Timestamp::now();
    for due in replica.takes(now).await {
        fixture.write(up(&due)).await;
    }
    let again = replica.takes(now.after(Duration::from_secs(64))).await;
    let gone = "DELETE FROM targets WHERE id = (SELECT min(id) FROM targets)";
    fixture.watched.run(gone).await;

    let reports: Vec<_> = again.iter().map(up).collect();
    fixture.history.clone().write(reports.into()).await.unwrap();

    assert!(fixture.results(all[0]).await.is_empty());
    assert_eq!(fixture.results(all[1]).await.len(), 2);
}

#[tokio::test]
async fn requested_check_goes_first_and_only_once() {
    let fixture = Fixture::new().await;
    let all = fixture.watched.add(3).await;
    let mut replica = fixture.replica(2);
    let now = Timestamp::now();
    fixture
        .watched
        .run("UPDATE targets SET enabled = false WHERE id = (SELECT max(id) FROM targets)")
        .await;
    replica.run_once(now).await;
    let wish = replica.schedule.request(all[2], now).await.unwrap();
    assert_eq!(wish, Requested::Disabled, "who goes on would wait in vain");
    fixture
        .watched
        .run("UPDATE targets SET enabled = true")
        .await;

    assert_eq!(
        replica.schedule.request(all[2], now).await.unwrap(),
        Requested::Queued
    );
    assert_eq!(
        replica.schedule.request(all[2], now).await.unwrap(),
        Requested::Running
    );

    let order: Vec<_> = std::iter::from_fn(|| replica.waiting.next().now_or_never()).collect();
    let order: Vec<_> = order.into_iter().map(|it| due(it).target).collect();
    assert_eq!(order[0], all[2]);
    assert_eq!(order.len(), 3);
}

#[tokio::test]
async fn request_without_room_changes_nothing() {
    let fixture = Fixture::new().await;
    let all = fixture.watched.add(2).await;
    let replica = fixture.replica(1);
    let now = Timestamp::now();
    assert_eq!(
        replica.schedule.request(all[0], now).await.unwrap(),
        Requested::Queued
    );
    assert_eq!(
        replica.schedule.request(all[1], now).await.unwrap(),
        Requested::QueueFull
    );
    let taken = fixture.replica(10).takes(now).await;
    assert_eq!(targets(&taken), [all[1]].into());
}

#[tokio::test]
async fn result_and_its_meaning_are_written_together_unless_late() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let (mut slow, mut other) = (fixture.replica(10), fixture.replica(10));
    let state = || async {
        let query = sqlx::query_as("SELECT is_up, turned_at FROM states WHERE target_id = $1");
        let query = query.bind(target);
        let state: Option<(bool, i64)> = query
            .fetch_optional(fixture.watched.database.read())
            .await
            .unwrap();
        state
    };
    let now = Timestamp::now();
    let late = slow.takes(now).await.remove(0);
    let due = other.takes(now.after(HELD)).await.remove(0);
    assert_eq!(state().await, None);

    fixture.write(down(&due)).await;
    fixture.write(up(&late)).await;

    let (is_up, turned_at) = state().await.unwrap();
    assert_eq!((is_up, turned_at), (false, due.at.0));
}

fn down(due: &Due) -> Report {
    let mut report = up(due);
    if let End::Checked { verdict, .. } = &mut report.end {
        *verdict = Verdict::Down {
            reason: Reason::Host,
            latency: Duration::ZERO,
        };
    }
    report
}
