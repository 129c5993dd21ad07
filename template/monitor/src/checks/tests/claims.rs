//! What is claimed is queued, and what is queued is claimed, whatever comes between.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use mainstay::database::Engine as _;
use tokio::time::{advance, pause, resume, sleep, timeout};

use super::super::queue::Lane;
use super::super::schedule::Wish;
use super::*;
use crate::settings::Engine;

/// Does it until it has been looked at so often, and nothing is ready yet; says whether it came to its end.
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
    /// How many checks somebody has a lease of.
    async fn leased(&self) -> i64 {
        let query = sqlx::query_scalar("SELECT count(*) FROM schedule WHERE leased_until > 0");
        // Whoever writes waits for those who do: nothing of what was begun is left then.
        let mut transaction = self.watched.database.begin().await.unwrap();
        query.fetch_one(&mut *transaction).await.unwrap()
    }

    /// As many as wait have a lease, then nobody has one any more.
    async fn settled(&self, replica: &mut Replica) {
        replica.schedule.takings.wait().await;
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
async fn wherever_a_turn_is_dropped_what_it_has_claimed_is_queued() {
    let fixture = Fixture::new().await;
    fixture.watched.add(3).await;
    let mut replica = fixture.replica(10);
    let (now, work) = (Moment::now(), Work::default());
    for after in 0.. {
        let (schedule, work) = (replica.schedule.clone(), &work);
        let is_whole = cut(after, schedule.turn(|| now, work)).await;
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
    // Nobody else can write.
    let held = fixture.watched.database.begin().await.unwrap();
    let taking = replica.schedule.takings.token();
    replica
        .schedule
        .run_by(&supervisor, &Work::default())
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
        // Time enough for a stop that does not wait.
        sleep(Duration::from_millis(100)).await;
        is_taken.store(true, Ordering::Relaxed);
        drop(taking);
    };
    let (stopped, ()) = tokio::join!(stop, taken);

    assert_eq!(stopped, (Vec::new(), true));
    drop(held);
}

#[tokio::test]
async fn wherever_a_client_leaves_its_wish_is_queued_if_it_is_claimed() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let mut replica = fixture.replica(10);
    let now = Moment::now();
    for after in 0.. {
        let schedule = replica.schedule.clone();
        let is_whole = cut(after, schedule.wish(target, now)).await;
        fixture.settled(&mut replica).await;
        if is_whole {
            break;
        }
    }
}

#[tokio::test]
async fn a_wish_whose_claim_does_not_last_is_not_made() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.schedule(1).await[0];
    let replica = fixture.replica(10);
    // Something refers to the target as nobody has it, which is looked at in the end.
    for statement in [
        "CREATE UNIQUE INDEX one_lease ON schedule (leased_until)",
        "CREATE TABLE referring (lease BIGINT REFERENCES schedule (leased_until) DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO referring (lease) VALUES (0)",
    ] {
        fixture.watched.run(statement).await;
    }

    let wish = replica.schedule.wish(target, Moment::now()).await;

    assert!(wish.is_err(), "{wish:?}");
    assert_eq!(replica.queue.room(Lane::Manual), 10);
    assert_eq!(fixture.leased().await, 0);
}

#[tokio::test]
async fn a_wish_that_is_granted_is_queued() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.add(1).await[0];
    let replica = fixture.replica(10);
    let wish = replica.schedule.wish(target, Moment::now()).await.unwrap();
    assert_eq!(wish, Wish::Granted);
    assert_eq!(replica.queue.room(Lane::Manual), 9);
}

#[tokio::test]
async fn each_part_of_a_long_turn_has_its_own_time() {
    let fixture = Fixture::new().await;
    fixture.watched.add(250).await;
    let mut slow = fixture.replica(300);
    let (now, work) = (Moment::now(), Work::default());
    let began = Instant::now();
    // As if each part, and what is before them, took this long.
    let takes = Duration::from_secs(20);
    let parts = AtomicU64::new(0);
    let clock = || {
        assert_eq!(work.goes_on(), Ok(()));
        pause();
        advance(takes).now_or_never();
        resume();
        let part = parts.fetch_add(1, Ordering::Relaxed);
        now.after(takes * u32::try_from(part).unwrap())
    };
    work.scheduled();

    slow.schedule.turn(clock, &work).await.unwrap();

    assert_eq!(parts.into_inner(), 4);
    let next = || unconstrained(slow.waiting.next()).now_or_never();
    let claimed: Vec<_> = std::iter::from_fn(next).map(due).collect();
    assert_eq!(claimed.len(), 250);
    // Each time, the leases of those before have run out.
    for (part, free) in [(1, 0), (2, 100), (3, 100)] {
        let almost = HELD.saturating_sub(Duration::from_millis(1));
        let then = now.after(almost + takes * part);
        assert_eq!(fixture.replica(250).takes(then).await.len(), free);
    }
    let last = claimed[249].deadline - began;
    assert!(last >= takes * 4 + LEASE / 2, "{last:?}");
}

#[tokio::test]
async fn a_target_that_somebody_is_changing_is_checked_nevertheless() {
    let fixture = Fixture::new().await;
    let target = fixture.watched.schedule(1).await[0];
    let mut transaction = fixture.watched.database.begin().await.unwrap();
    let query = sqlx::query("UPDATE targets SET name = 'new' WHERE id = $1").bind(target);
    query.execute(&mut *transaction).await.unwrap();
    // Where rows are not locked, who writes waits for who writes.
    let is_alone = Engine::skip_locked("s").is_empty();
    let changing = (!is_alone).then_some(transaction);

    assert_eq!(fixture.replica(1).takes(Moment::now()).await.len(), 1);
    drop(changing);
}
