//! Batches under paused time, with scripted checks and with a peer.

use axum::http::StatusCode;
use futures_util::FutureExt;
use tokio::task::{JoinSet, unconstrained};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::checks::due::tests::due;
use crate::checks::outgoing::Failure;
use crate::checks::peer::{Event, Peer, Reply, answer};
use crate::checks::queue::{Job, Lane, Waiting, queue};
use crate::checks::{self, hosts};

const SECOND: Duration = Duration::from_secs(1);

/// Batches with these limits. The test takes checks from the queue and answers them.
fn fixture(at_once: usize, per_host: usize) -> (Batches, Waiting) {
    let hosts = Hosts::new(&hosts::Settings {
        per_host,
        max_hosts: 1000,
        ..hosts::tests::settings()
    });
    let settings = Settings {
        max_batch: 1000,
        batch_at_once: at_once,
        batch_timeout: 5 * SECOND,
    };
    let (queue, waiting) = queue(1000);
    (Batches::new(hosts, queue, &settings), waiting)
}

fn batch(urls: &[&str]) -> Batch {
    Batch {
        urls: urls.iter().map(|url| url.parse().unwrap()).collect(),
        timeout: SECOND,
        max_failures: usize::MAX,
    }
}

/// URLs of as many hosts, or of one host.
fn many(count: usize, hosts: usize) -> Batch {
    let urls = (0..count).map(|n| format!("http://host-{}.example/200", n % hosts));
    let urls: Vec<_> = urls.collect();
    batch(&urls.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn next(waiting: &mut Waiting) -> Asked {
    asked(waiting.next().await)
}

fn asked(job: Job) -> Asked {
    match job {
        Job::Asked(asked) => asked,
        Job::Due(due) => panic!("{due:?}"),
    }
}

/// All queued checks.
fn rest(waiting: &mut Waiting) -> Vec<Asked> {
    let next = || unconstrained(waiting.next()).now_or_never();
    std::iter::from_fn(next).map(asked).collect()
}

/// Answers with the status in the path: below 400 is up.
fn tell(asked: Asked) {
    let status = asked.url.path()[1..].parse().unwrap();
    let (status, latency) = (StatusCode::from_u16(status).unwrap(), SECOND);
    let verdict = if status.is_client_error() {
        let reason = Reason::Status(status);
        Verdict::Down { reason, latency }
    } else {
        Verdict::Up { status, latency }
    };
    asked.permit.end(true);
    let at = Timestamp::now();
    asked.answer.send(Checked { at, verdict }).unwrap();
}

fn words(outcomes: &[Outcome]) -> Vec<String> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Checked(Checked { verdict, .. }) => match verdict.status() {
            Some(status) => status.as_str().to_owned(),
            None => verdict.reason().unwrap().to_owned(),
        },
        Outcome::Missed(missed) => format!("{missed:?}"),
    };
    outcomes.iter().map(word).collect()
}

#[tokio::test(start_paused = true)]
async fn answers_come_in_the_order_asked_duplicates_included() {
    let (batches, mut waiting) = fixture(10, 10);
    let batch = batch(&[
        "http://a/201",
        "http://b/404",
        "http://a/201",
        "http://a/203",
    ]);
    let checker = async {
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(next(&mut waiting).await);
        }
        // The last one first.
        while let Some(asked) = all.pop() {
            tell(asked);
            sleep(SECOND).await;
        }
    };
    let (outcomes, ()) = tokio::join!(batches.check(&batch), checker);
    assert_eq!(words(&outcomes), ["201", "404", "201", "203"]);
}

#[tokio::test(start_paused = true)]
async fn internal_failure_fails_one_check_only() {
    let (batches, mut waiting) = fixture(10, 10);
    let batch = batch(&["http://a/200", "http://b/200", "http://c/200"]);
    let checker = async {
        tell(next(&mut waiting).await);
        drop(next(&mut waiting).await);
        tell(next(&mut waiting).await);
    };
    let (outcomes, ()) = tokio::join!(batches.check(&batch), checker);
    assert_eq!(words(&outcomes), ["200", "Failed", "200"]);
}

#[tokio::test(start_paused = true)]
async fn running_checks_of_a_batch_are_limited() {
    let (batches, mut waiting) = fixture(7, 100);
    let batch = many(100, 100);
    let checking = unconstrained(batches.check(&batch));
    tokio::pin!(checking);
    for left in (0..100).rev() {
        assert!(checking.as_mut().now_or_never().is_none());
        assert_eq!(batches.queue.length_of_batch(), 7.min(left + 1));
        tell(next(&mut waiting).await);
    }
    assert_eq!(checking.await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn checks_of_a_busy_host_wait_outside_the_queue() {
    let (batches, mut waiting) = fixture(100, 2);
    let batch = many(1000, 1);
    let checking = unconstrained(batches.check(&batch));
    tokio::pin!(checking);
    let mut made = 0;
    while made < 1000 {
        assert!(checking.as_mut().now_or_never().is_none());
        let both = rest(&mut waiting);
        assert!((1..=2).contains(&both.len()), "{}", both.len());
        made += both.len();
        both.into_iter().for_each(tell);
    }
    let outcomes = checking.await;
    assert!(outcomes.iter().all(Outcome::is_up), "{outcomes:?}");
}

#[test]
fn hosts_take_turns() {
    let batch = batch(&[
        "http://a/1",
        "http://a/2",
        "http://a/3",
        "http://b/1",
        "http://b:81/1",
        "http://b/2",
    ]);
    assert_eq!(in_turns(&batch.urls), [0, 3, 4, 1, 5, 2]);
}

#[tokio::test(start_paused = true)]
async fn rest_is_given_up_after_max_failures() {
    let (batches, mut waiting) = fixture(4, 10);
    let batch = Batch {
        max_failures: 2,
        ..batch(&[
            "http://a/404",
            "http://b/200",
            "http://c/200",
            "http://d/404",
            "http://e/200",
            "http://f/200",
        ])
    };
    let checker = async {
        let mut begun = Vec::new();
        for _ in 0..4 {
            begun.push(next(&mut waiting).await);
        }
        tell(begun.remove(0));
        tell(begun.remove(0));
        tell(begun.remove(1));
        begun
    };
    let (outcomes, begun) = tokio::join!(batches.check(&batch), checker);
    let expected = ["404", "200", "GivenUp", "404", "GivenUp", "GivenUp"];
    assert_eq!(words(&outcomes), expected);
    assert!(begun.iter().all(|asked| asked.answer.is_closed()));
    let rest = rest(&mut waiting);
    assert!(rest.iter().all(|asked| asked.answer.is_closed()));
}

#[tokio::test(start_paused = true)]
async fn batch_out_of_time_answers_what_is_done() {
    let (batches, mut waiting) = fixture(3, 10);
    let batch = many(5, 5);
    let began = Instant::now();
    let context = RequestContext::until(began + 4 * SECOND);
    let checker = async {
        tell(next(&mut waiting).await);
        [next(&mut waiting).await, next(&mut waiting).await]
    };
    let (outcomes, under_way) = tokio::join!(context.scope(batches.check(&batch)), checker);
    assert_eq!(began.elapsed(), Duration::from_millis(3600));
    let late = "NotInTime";
    assert_eq!(words(&outcomes), ["200", late, late, late, late]);
    assert!(under_way.iter().all(|asked| asked.answer.is_closed()));
}

#[tokio::test(start_paused = true)]
async fn slow_host_does_not_outlast_the_time_of_the_batch() {
    let (batches, mut waiting) = fixture(100, 1);
    let batch = many(100, 1);
    let began = Instant::now();
    let context = RequestContext::until(began + 60 * SECOND);
    let checking = context.scope(batches.check(&batch));
    let checker = async {
        loop {
            let asked = next(&mut waiting).await;
            sleep(SECOND).await;
            tell(asked);
        }
    };
    let outcomes = tokio::select! {
        outcomes = checking => outcomes,
        () = checker => unreachable!(),
    };
    assert_eq!(began.elapsed(), Duration::from_millis(59_500));
    let up = outcomes.iter().filter(|outcome| outcome.is_up());
    assert_eq!(up.count(), 59);
}

#[tokio::test(start_paused = true)]
async fn host_that_is_down_is_not_requested() {
    let (batches, mut waiting) = fixture(10, 10);
    let url = "http://down/200".parse().unwrap();
    for _ in 0..hosts::tests::settings().breaker_failures {
        batches.hosts.acquire(&url).await.unwrap().end(false);
    }
    let batch = batch(&["http://down/200", "http://up/200"]);
    let checker = async { tell(next(&mut waiting).await) };
    let (outcomes, ()) = tokio::join!(batches.check(&batch), checker);
    assert_eq!(words(&outcomes), ["host_down", "200"]);
}

#[tokio::test(start_paused = true)]
async fn no_check_begins_for_a_client_that_has_left() {
    let (batches, mut waiting) = fixture(3, 10);
    let batch = many(100, 100);
    let checking = tokio::time::timeout(SECOND, batches.check(&batch));
    let checker = async {
        tell(next(&mut waiting).await);
        sleep(2 * SECOND).await;
    };
    let (left, ()) = tokio::join!(checking, checker);
    assert!(left.is_err());
    let begun = rest(&mut waiting);
    assert_eq!(begun.len(), 3);
    assert!(begun.iter().all(|asked| asked.answer.is_closed()));
    drop(begun);
    assert!(rest(&mut waiting).is_empty());
}

/// A check of a peer, and the receiver of its result.
async fn one_of(peer: &Peer) -> (Asked, oneshot::Receiver<Checked>) {
    let (batches, _) = fixture(1, 1);
    let url = peer.url("/");
    let (answer, checked) = oneshot::channel();
    let asked = Asked {
        permit: batches.hosts.acquire(&url).await.unwrap(),
        url,
        timeout: 30 * SECOND,
        context: None,
        answer,
    };
    (asked, checked)
}

#[tokio::test]
async fn batch_goes_after_single_and_before_scheduled_checks() {
    let (batches, mut waiting) = fixture(10, 10);
    let scheduled = batches.queue.push(Lane::Scheduled, due(1));
    let batch = batch(&["http://a/200"]);
    let checking = batches.check(&batch);
    tokio::pin!(checking);
    assert!(checking.as_mut().now_or_never().is_none());
    let wished = batches.queue.push(Lane::Manual, due(2));
    assert!(scheduled && wished);

    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(match waiting.next().await {
            Job::Due(due) => due.target,
            Job::Asked(asked) => {
                tell(asked);
                0
            }
        });
    }

    assert_eq!(order, [2, 0, 1]);
    assert_eq!(words(&checking.await), ["200"]);
}

#[tokio::test]
async fn asked_check_is_answered_and_not_recorded() {
    let peer = Peer::always(answer("404 Not Found", "", "")).await;
    let (checks, mut written, _supervisor) = checks::tests::checks(&hosts::tests::settings());
    let (asked, checked) = one_of(&peer).await;
    checks
        .make(Job::Asked(asked), CancellationToken::new())
        .await;
    let checked = checked.await.unwrap();
    assert_eq!(checked.verdict.reason(), Some("status"));
    assert!(written.try_recv().is_err());
}

#[tokio::test]
async fn check_ends_with_its_timeout_and_not_with_the_batch() {
    let peer = Peer::always(Reply::Silence).await;
    let (checks, _written, _supervisor) = checks::tests::checks(&hosts::tests::settings());
    let (asked, checked) = one_of(&peer).await;
    let timeout = Duration::from_millis(20);
    let made = checks.make(
        Job::Asked(Asked { timeout, ..asked }),
        CancellationToken::new(),
    );
    made.await;
    let Verdict::Down { reason, .. } = checked.await.unwrap().verdict else {
        panic!("it is silent");
    };
    assert_eq!(reason, Reason::Failure(Failure::Timeout));
}

#[tokio::test]
async fn check_without_a_waiter_is_skipped_or_dropped() {
    let peer = Peer::always(Reply::Silence).await;
    let (checks, _written, _supervisor) = checks::tests::checks(&hosts::tests::settings());
    let (asked, checked) = one_of(&peer).await;
    drop(checked);
    checks
        .clone()
        .make(Job::Asked(asked), CancellationToken::new())
        .await;
    assert_eq!(peer.seen().await, []);

    let (asked, checked) = one_of(&peer).await;
    let mut made = JoinSet::new();
    made.spawn(checks.make(Job::Asked(asked), CancellationToken::new()));
    peer.asked().await;
    drop(checked);
    made.join_next().await.unwrap().unwrap();
    assert_eq!(peer.next().await, Event::Left);
}
