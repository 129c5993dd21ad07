//! Attempts under paused time, and checks of a scripted peer.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::sleep;

use super::attempts::{hedged, retried};
use super::*;
use crate::checks::outgoing;
use crate::checks::peer::{Event, Peer, Reply, answer};

const SECOND: Duration = Duration::from_secs(1);

/// Longer than any operation takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(in crate::checks) fn settings() -> Settings {
    Settings {
        retries: 2,
        retry_pause: Duration::from_millis(100),
        retry_percent: 10,
        hedge_after: None,
    }
}

/// Fails this often, then succeeds.
fn fails(times: u32) -> (Cell<u32>, impl Fn(&Cell<u32>) -> Result<u32, &'static str>) {
    let attempt = move |attempts: &Cell<u32>| {
        attempts.set(attempts.get() + 1);
        match attempts.get() {
            attempts if attempts > times => Ok(attempts),
            _ => Err("not yet"),
        }
    };
    (Cell::new(0), attempt)
}

#[tokio::test(start_paused = true)]
async fn transient_failure_is_retried_with_backoff() {
    let (attempts, attempt) = fails(2);
    let began = Instant::now();

    let done = retried(async || attempt(&attempts), &settings(), |_| true, || true).await;

    assert_eq!(done, Ok(3));
    // 100 ms and 200 ms, and up to as much again.
    let took = began.elapsed();
    assert!((300..=600).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_pauses_have_jitter() {
    let mut all = Vec::new();
    for _ in 0..10 {
        let (attempts, attempt) = fails(1);
        let began = Instant::now();
        let done = retried(async || attempt(&attempts), &settings(), |_| true, || true).await;
        assert_eq!(done, Ok(2));
        all.push(began.elapsed());
    }
    all.sort_unstable();
    all.dedup();
    assert!(all.len() > 5, "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn permanent_failure_is_not_retried() {
    let (attempts, attempt) = fails(1);
    let done = retried(async || attempt(&attempts), &settings(), |_| false, || true).await;
    assert_eq!((done, attempts.get()), (Err("not yet"), 1));
}

#[tokio::test(start_paused = true)]
async fn only_retries_take_from_the_budget() {
    let (attempts, attempt) = fails(9);
    let paid = Cell::new(0);
    let pays = || {
        paid.set(paid.get() + 1);
        true
    };
    let done = retried(async || attempt(&attempts), &settings(), |_| true, pays).await;
    assert_eq!((done, attempts.get(), paid.get()), (Err("not yet"), 3, 2));

    let (attempts, attempt) = fails(9);
    let done = retried(async || attempt(&attempts), &settings(), |_| true, || false).await;
    assert_eq!((done, attempts.get()), (Err("not yet"), 1));
}

/// Counts the attempts that have begun, and those that run.
#[derive(Default)]
struct Attempts {
    begun: Cell<usize>,
    alive: Cell<usize>,
}

struct Alive<'a>(&'a Attempts);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.alive.set(self.0.alive.get() - 1);
    }
}

impl Attempts {
    /// An attempt that takes this long and succeeds.
    async fn make(&self, all: &[(Duration, Result<u32, u32>)]) -> Result<u32, u32> {
        let (time, end) = all[self.begun.get()];
        self.begun.set(self.begun.get() + 1);
        self.alive.set(self.alive.get() + 1);
        let _alive = Alive(self);
        sleep(time).await;
        end
    }
}

#[tokio::test(start_paused = true)]
async fn slow_attempt_gets_a_hedge_and_the_loser_is_dropped() {
    let attempts = Attempts::default();
    let all = [(60 * SECOND, Ok(1)), (SECOND, Ok(2))];
    let began = Instant::now();

    let done = hedged(|| attempts.make(&all), Some(2 * SECOND), || true).await;

    assert_eq!((done, began.elapsed()), (Ok(2), 3 * SECOND));
    assert_eq!((attempts.begun.get(), attempts.alive.get()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn quick_or_unaffordable_attempt_gets_no_hedge() {
    for (time, after, means) in [
        (SECOND, Some(2 * SECOND), true),
        (3 * SECOND, Some(2 * SECOND), false),
        (60 * SECOND, None, true),
    ] {
        let attempts = Attempts::default();
        let all = [(time, Ok(1))];
        let began = Instant::now();
        let done = hedged(|| attempts.make(&all), after, || means).await;
        assert_eq!((done, began.elapsed()), (Ok(1), time));
        assert_eq!(attempts.begun.get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_attempt_leaves_the_result_to_the_other() {
    for (first, second, end) in [
        ((3 * SECOND, Err(1)), (4 * SECOND, Ok(2)), Ok(2)),
        ((9 * SECOND, Ok(1)), (SECOND, Err(2)), Ok(1)),
        ((9 * SECOND, Err(1)), (SECOND, Err(2)), Err(1)),
    ] {
        let attempts = Attempts::default();
        let all = [first, second];
        let done = hedged(|| attempts.make(&all), Some(2 * SECOND), || true).await;
        assert_eq!(done, end);
    }
}

fn probe(settings: &Settings) -> Probe {
    let outgoing = outgoing::Settings {
        allow_private: true,
        ..outgoing::tests::settings()
    };
    Probe::new(outgoing::Outgoing::new(&outgoing), settings)
}

async fn check(settings: &Settings, peer: &Peer) -> Verdict {
    let verdict = probe(settings).check(&question(peer)).await;
    verdict.expect("there was time")
}

fn question(peer: &Peer) -> Question {
    Question {
        url: peer.url("/"),
        timeout: PATIENCE,
        deadline: Instant::now() + PATIENCE,
    }
}

fn quick() -> Settings {
    Settings {
        retry_pause: Duration::from_millis(1),
        ..settings()
    }
}

async fn requests(peer: &Peer) -> usize {
    let seen = peer.seen().await;
    let asked = seen.iter().filter(|event| matches!(event, Event::Asked(_)));
    asked.count()
}

#[tokio::test]
async fn status_decides_between_up_and_down() {
    for (status, is_up, asked) in [
        ("200 OK", true, 1),
        ("204 No Content", true, 1),
        ("304 Not Modified", true, 1),
        ("404 Not Found", false, 1),
        ("500 Internal Server Error", false, 1),
        ("503 Service Unavailable", false, 3),
    ] {
        let peer = Peer::always(answer(status, "", "")).await;
        let verdict = check(&quick(), &peer).await;
        assert_eq!(matches!(verdict, Verdict::Up { .. }), is_up, "{verdict:?}");
        assert!(verdict.speaks_for_host());
        assert_eq!(requests(&peer).await, asked, "{status}");
    }
}

#[tokio::test]
async fn target_that_recovers_during_retries_is_up() {
    let asked = AtomicU32::new(0);
    let peer = Peer::new(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Last(String::new()),
        1 => answer("502 Bad Gateway", "", ""),
        _ => answer("200 OK", "", ""),
    })
    .await;
    let verdict = check(&quick(), &peer).await;
    assert!(matches!(verdict, Verdict::Up { .. }), "{verdict:?}");
}

#[tokio::test]
async fn page_longer_than_the_limit_is_up() {
    let peer = Peer::always(answer("200 OK", "", &"x".repeat(5000))).await;
    let verdict = check(&quick(), &peer).await;
    assert!(matches!(verdict, Verdict::Up { .. }), "{verdict:?}");
}

#[tokio::test]
async fn checks_share_one_budget_for_further_attempts() {
    let peer = Peer::always(answer("503 Service Unavailable", "", "")).await;
    let probe = probe(&Settings {
        retry_percent: 0,
        ..quick()
    });
    for _ in 0..20 {
        probe.clone().check(&question(&peer)).await;
    }
    assert_eq!(requests(&peer).await, 20 + 10);
}

#[tokio::test]
async fn losing_attempt_is_disconnected() {
    let asked = AtomicU32::new(0);
    let peer = Peer::new(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Silence,
        _ => answer("200 OK", "", ""),
    })
    .await;
    let settings = Settings {
        hedge_after: Some(Duration::from_millis(10)),
        ..quick()
    };

    let verdict = check(&settings, &peer).await;

    assert!(matches!(verdict, Verdict::Up { .. }), "{verdict:?}");
    while peer.next().await != Event::Left {}
}

#[tokio::test(start_paused = true)]
async fn check_ends_by_its_deadline() {
    let peer = Peer::always(Reply::Silence).await;
    // Also if its first attempt could take as long.
    for timeout in [PATIENCE, SECOND] {
        let began = Instant::now();
        let question = Question {
            timeout,
            deadline: began + SECOND,
            ..question(&peer)
        };
        let verdict = probe(&quick()).check(&question).await;
        assert_eq!(
            (verdict, began.elapsed()),
            (None, SECOND),
            "nothing is known"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn check_cut_by_its_deadline_keeps_the_attempts_before() {
    let asked = AtomicU32::new(0);
    let peer = Peer::new(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => answer("503 Service Unavailable", "", ""),
        _ => Reply::Silence,
    })
    .await;
    let question = Question {
        deadline: Instant::now() + 3 * SECOND,
        ..question(&peer)
    };
    let verdict = probe(&quick()).check(&question).await.unwrap();
    let latency = 3 * SECOND;
    let reason = Reason::Status(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(verdict, Verdict::Down { reason, latency });
}

#[tokio::test(start_paused = true)]
async fn check_is_down_when_its_attempts_run_out_of_time() {
    let peer = Peer::always(Reply::Silence).await;
    let settings = Settings {
        hedge_after: Some(SECOND),
        ..quick()
    };
    let question = Question {
        timeout: 2 * SECOND,
        ..question(&peer)
    };
    let verdict = probe(&settings).check(&question).await.unwrap();
    let latency = 2 * SECOND;
    let reason = Reason::Failure(Failure::Timeout);
    assert!(!verdict.speaks_for_host());
    assert_eq!(verdict, Verdict::Down { reason, latency });
}
