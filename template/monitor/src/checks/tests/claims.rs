//! Every claimed check is queued, and every queued check is claimed, also after cancellation.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use mainstay::database::Engine as _;
use tokio::time::{advance, pause, resume, sleep, timeout};

use super::super::queue::Lane;
use super::super::schedule::Requested;
use super::*;
use crate::settings::Engine;

/// Polls a future until it was pending this often; returns whether it completed.
async fn cut<T>(after: usize, work: impl Future<Output = T>) -> bool {
    let mut work = pin!(work);
    let mut looks = 0;
    std::future::poll_fn(|context| {
        looks += 1;
        match work.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if looks > after => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl Fixture {
    /// The number of leases.
    async fn leased(&self) -> i64 {
        let query = sqlx::query_scalar("SELECT count(*) FROM schedule WHERE leased_until > 0");
        // Writers wait for each other, so that earlier transactions have ended.
        let mut transaction = self.watched.database.begin().await.unwrap();
        query.fetch_one(&mut *transaction).await.unwrap()
    }

    /// Asserts that there are as many leases as queued checks, and no lease afterwards.
    async fn settled(&self, replica: &mut Replica) {
        replica.schedule.claims.wait().await;
        let leased = self.leased().await;
        let next = || unconstrained(replica.waiting.next()).now_or_never();
        let queued = std::iter::from_fn(next).count();
        assert_eq!(leased, i64::try_from(queued).unwrap());
        self.watched
            .run("UPDATE schedule SET leased_until = 0")
            .await;
    }
}

#[tokio::test]
async fn dropped_run_queues_all_that_it_has_claimed() {
    let fixture = Fixture::new().await;
    fixture.watched.add(3).await;
    let mut replica = fixture.replica(10);
    let (now, work) = (Timestamp::now(), Work::default());
    for after in 0.. {
        let (schedule, work) = (replica.schedule.clone(), &work);
        let is_whole = cut(after, schedule.run_once(|| now, work)).await;
        fixture.settled(&mut replica).await;
        if is_whole {
            break;
        }
    }
}

#[tokio::test]
async fn stop_drops_waiting_claims_and_awaits_those_under_way() {
    let fixture = Fixture::new().await;
    fixture.watched.add(1).await;
    let (supervisor, replica) = (Supervisor::new(), fixture.replica(10));
    // Blocks all other writers.
    let held = fixture.watched.database.begin().await.unwrap();
    let commit = replica.schedule.claims.token();
    replica
        .schedule
        .spawn(&supervisor, &Work::default())
        .unwrap();
    let has_begun = async {
        while supervisor.statuses()[0].runs == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, has_begun).await.unwrap();
    let is_taken = AtomicBool::new(false);

    let stop = async {
        let aborted = supervisor.stop(PATIENCE).await;
        (aborted, is_taken.load(Ordering::Relaxed))
    };
    let taken = async {
        // Enough time for a stop that does not wait.
        sleep(Duration::from_millis(100)).await;
        is_taken.store(true, Ordering::Relaxed);
        drop(commit);
    };
    let (stopped, ()) = tokio::join!(stop, taken);

    assert_eq!(stopped, (Vec::new(), true));
    drop(held);
}

#[tokio::test]
async fn cancelled_request_is_queued_if_claimed() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let mut replica = fixture.replica(10);
    let now = Timestamp::now();
    for after in 0.. {
        let schedule = replica.schedule.clone();
        let is_whole = cut(after, schedule.request(target, now)).await;
        fixture.settled(&mut replica).await;
        if is_whole {
            break;
        }
    }
}

#[tokio::test]
async fn request_whose_claim_fails_is_not_queued() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.schedule(1).await[0];
    let replica = fixture.replica(10);
    // A row refers to a target that does not exist, which the commit detects.
    for statement in [
        "CREATE UNIQUE INDEX one_lease ON schedule (leased_until)",
        "CREATE TABLE referring (lease BIGINT REFERENCES schedule (leased_until) DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO referring (lease) VALUES (0)",
    ] {
        fixture.watched.run(statement).await;
    }

    let wish = replica.schedule.request(target, Timestamp::now()).await;

    assert!(wish.is_err(), "{wish:?}");
    assert_eq!(replica.queue.room(Lane::Manual), 10);
    assert_eq!(fixture.leased().await, 0);
}

#[tokio::test]
async fn accepted_request_is_queued() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let replica = fixture.replica(10);
    let wish = replica
        .schedule
        .request(target, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(wish, Requested::Queued);
    assert_eq!(replica.queue.room(Lane::Manual), 9);
}

#[tokio::test]
async fn each_part_of_a_long_run_has_its_own_time() {
    let fixture = Fixture::new().await;
    fixture.watched.add(250).await;
    let mut slow = fixture.replica(300);
    let (now, work) = (Timestamp::now(), Work::default());
    let began = Instant::now();
    // As if each part took this long.
    let takes = Duration::from_secs(20);
    let parts = AtomicU64::new(0);
    let clock = || {
        assert_eq!(work.check_progress(), Ok(()));
        pause();
        advance(takes).now_or_never();
        resume();
        let part = parts.fetch_add(1, Ordering::Relaxed);
        now.after(takes * u32::try_from(part).unwrap())
    };
    work.scheduled();

    slow.schedule.run_once(clock, &work).await.unwrap();

    assert_eq!(parts.into_inner(), 4);
    let next = || unconstrained(slow.waiting.next()).now_or_never();
    let claimed: Vec<_> = std::iter::from_fn(next).map(due).collect();
    assert_eq!(claimed.len(), 250);
    // Each time, the earlier leases have expired.
    for (part, free) in [(1, 0), (2, 100), (3, 100)] {
        let almost = HELD.saturating_sub(Duration::from_millis(1));
        let then = now.after(almost + takes * part);
        assert_eq!(fixture.replica(250).takes(then).await.len(), free);
    }
    let last = claimed[249].deadline - began;
    assert!(last >= takes * 4 + LEASE / 2, "{last:?}");
}

#[tokio::test]
async fn target_locked_by_an_update_is_checked() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.schedule(1).await[0];
    let mut transaction = fixture.watched.database.begin().await.unwrap();
    let query = sqlx::query("UPDATE targets SET name = 'new' WHERE id = $1").bind(target);
    query.execute(&mut *transaction).await.unwrap();
    // Without row locks, writers wait for each other.
    let is_alone = Engine::skip_locked("s").is_empty();
    let changing = (!is_alone).then_some(transaction);

    assert_eq!(fixture.replica(1).takes(Timestamp::now()).await.len(), 1);
    drop(changing);
}
