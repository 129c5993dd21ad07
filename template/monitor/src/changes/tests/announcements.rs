//! Which changes are announced, when, and by which process.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use mainstay::supervisor::Supervisor;

use super::*;

#[tokio::test]
async fn settled_state_is_announced_once() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.schedule(1).await[0];
    let announcer = fixture.announcer(30);
    let almost = |seconds| at(seconds).before(Duration::from_millis(1));
    fixture.found(&[target], 100, None).await;
    announcer.run_once(almost(130)).await.unwrap();
    assert_eq!(fixture.told(0).await, []);

    announcer.run_once(at(130)).await.unwrap();
    fixture.found(&[target], 160, Some("timeout")).await;
    fixture.found(&[target], 170, Some("dns")).await;
    announcer.run_once(almost(190)).await.unwrap();
    assert_eq!(fixture.told(1).await, []);
    announcer.run_once(at(190)).await.unwrap();
    announcer.run_once(at(500)).await.unwrap();

    let change = |id, is_up, seconds, reason: Option<&str>| Change {
        id,
        target_id: target,
        is_up,
        turned_at: at(seconds),
        reason: reason.map(str::to_owned),
    };
    let expected = [
        change(1, true, 100, None),
        change(2, false, 160, Some("timeout")),
    ];
    assert_eq!(fixture.told(0).await, expected);
}

#[tokio::test]
async fn flapping_within_the_settle_time_is_not_announced() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.schedule(1).await;
    let announcer = fixture.announcer(30);
    fixture.found(&target, 100, None).await;
    announcer.run_once(at(130)).await.unwrap();

    for (seconds, reason) in [
        (160, Some("timeout")),
        (185, None),
        (210, Some("timeout")),
        (235, None),
    ] {
        fixture.found(&target, seconds, reason).await;
        announcer.run_once(at(seconds)).await.unwrap();
        announcer.run_once(at(seconds + 24)).await.unwrap();
    }
    announcer.run_once(at(1000)).await.unwrap();

    assert_eq!(fixture.told(1).await, []);
}

#[tokio::test]
async fn zero_settle_time_announces_each_change_at_once() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.schedule(1).await;
    let announcer = fixture.announcer(0);
    for (seconds, reason) in [(100, Some("dns")), (101, None), (102, Some("tls"))] {
        fixture.found(&target, seconds, reason).await;
        announcer.run_once(at(seconds)).await.unwrap();
    }
    let told = fixture.told(0).await;
    let reasons: Vec<_> = told.iter().map(|it| it.reason.as_deref()).collect();
    assert_eq!(reasons, [Some("dns"), None, Some("tls")]);
}

#[tokio::test]
async fn concurrent_announcers_skip_no_id() {
    let fixture = Fixture::new().await;
    let targets = fixture.watched.schedule(450).await;
    fixture.found(&targets, 100, None).await;
    let announcers = [0, 1, 2].map(|_| fixture.announcer(30));

    let read = async {
        // A reader of an id has read all ids before it.
        let mut last = 0;
        while last < 450 {
            for change in fixture.told(last).await {
                assert_eq!(change.id, last + 1);
                last = change.id;
            }
        }
    };
    let turns = announcers
        .iter()
        .map(|announcer| announcer.run_once(at(130)));
    let all = async { tokio::join!(join_all(turns), read).0 };
    let turned = tokio::time::timeout(PATIENCE, all).await.unwrap();

    turned.into_iter().for_each(Result::unwrap);
    let told = fixture.told(0).await;
    let of_targets: BTreeSet<_> = told.iter().map(|change| change.target_id).collect();
    assert_eq!(told.len(), 450);
    assert_eq!(of_targets, targets.into_iter().collect());
}

#[tokio::test]
async fn state_being_written_is_announced_in_the_next_run() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.schedule(1).await[0];
    let announcer = fixture.announcer(30);
    fixture.found(&[target], 100, Some("dns")).await;
    let mut transaction = fixture.watched.database.begin().await.unwrap();
    let found = Observed {
        target,
        at: at(120),
        reason: None,
    };
    observe(&mut transaction, &[found]).await.unwrap();

    // On SQLite, writers wait for each other.
    let turn = announcer.run_once(at(130));
    let written = async {
        tokio::task::yield_now().await;
        transaction.commit().await
    };
    let (turned, written) = tokio::join!(turn, written);

    turned.unwrap();
    written.unwrap();
    assert_eq!(fixture.told(0).await, []);
    announcer.run_once(at(150)).await.unwrap();
    assert!(fixture.told(0).await[0].is_up);
}

#[tokio::test]
async fn removed_target_keeps_its_changes_and_gets_no_more() {
    let fixture = Fixture::new().await;
    let targets = fixture.watched.schedule(2).await;
    let announcer = fixture.announcer(30);
    fixture.found(&targets[..1], 100, None).await;
    announcer.run_once(at(130)).await.unwrap();
    fixture.found(&targets, 200, Some("dns")).await;
    fixture.watched.run("DELETE FROM targets").await;

    announcer.run_once(at(300)).await.unwrap();

    let told = fixture.told(0).await;
    let told: Vec<_> = told.iter().map(|it| (it.id, it.is_up)).collect();
    assert_eq!(told, [(1, true)]);
}

#[tokio::test]
async fn old_changes_are_removed_in_batches_and_ids_continue() {
    let fixture = Fixture::new().await;
    fixture.announce(2500).await;
    let target = fixture.watched.schedule(1).await;
    fixture.found(&target, 100, None).await;
    fixture.announcer(0).run_once(at(100)).await.unwrap();
    let mut removed = Vec::new();
    for _ in 0..4 {
        removed.push(fixture.changes.remove_batch(at(50)).await.unwrap());
    }
    assert_eq!(removed, [1000, 1000, 500, 0]);
    assert_eq!(fixture.told(0).await[0].id, 2501);

    fixture.changes.remove_old(at(101)).await.unwrap();
    assert_eq!(fixture.told(0).await, []);
    fixture.found(&target, 200, Some("dns")).await;
    fixture.announcer(0).run_once(at(200)).await.unwrap();
    assert_eq!(fixture.told(0).await[0].id, 2502);
}

#[tokio::test]
async fn concurrent_retention_removes_all_old_rows() {
    let fixture = Fixture::new().await;
    fixture.announce(2500).await;
    fixture
        .watched
        .run("UPDATE changes SET turned_at = 50000 WHERE id > 2400")
        .await;

    let all = [0, 1].map(|_| fixture.changes.remove_old(at(50)));
    join_all(all).await.into_iter().for_each(Result::unwrap);

    let left = fixture.told(0).await;
    assert_eq!((left.len(), left[0].id), (100, 2401));
}

#[tokio::test]
async fn changes_are_kept_for_the_configured_retention() {
    const RETENTION: Duration = Duration::from_hours(1);
    const ALMOST: Duration = Duration::from_mins(50);
    let fixture = Fixture::new().await;
    fixture.announce(2).await;
    let (now, minute) = (Timestamp::now(), Duration::from_mins(1));
    for (id, age) in [(1, RETENTION + minute), (2, ALMOST)] {
        let turned = now.before(age).0;
        let changed = format!("UPDATE changes SET turned_at = {turned} WHERE id = {id}");
        fixture.watched.run(changed).await;
    }
    let supervisor = Supervisor::new();
    announcer::spawn_retention(&supervisor, fixture.changes.clone(), RETENTION).unwrap();

    let left = fixture.watched.after(2 * minute, async || {
        let left = fixture.told(0).await;
        (left.len() < 2).then_some(left)
    });

    let left = left.await;
    assert_eq!(left.iter().map(|it| it.id).collect::<Vec<_>>(), [2]);
}
