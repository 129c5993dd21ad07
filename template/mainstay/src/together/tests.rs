//! Several things at once: how long they take, and what becomes of the others when one fails.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{Instant, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// How many have begun and have neither ended nor been dropped.
#[derive(Debug, Default)]
struct UnderWay(AtomicUsize);

struct One<'a>(&'a UnderWay);

impl UnderWay {
    fn one(&self) -> One<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        One(self)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn takes(time: Duration, under_way: &UnderWay) {
    let _one = under_way.one();
    sleep(time).await;
}

async fn fails(after: Duration, cause: &'static str) -> Result<(), &'static str> {
    sleep(after).await;
    Err(cause)
}

async fn panics() {
    sleep(Duration::ZERO).await;
    panic!("on purpose")
}

#[tokio::test(start_paused = true)]
async fn all_of_it_takes_as_long_as_the_slowest_part() {
    let (began, under_way) = (Instant::now(), UnderWay::default());

    let done = Together::new()
        .required("one", takes(SECOND, &under_way))
        .required("two", takes(SECOND * 3, &under_way))
        .optional("three", SECOND * 5, takes(SECOND * 2, &under_way))
        .join()
        .await;

    assert_eq!(done, Ok(()));
    assert_eq!(began.elapsed(), SECOND * 3);
    assert_eq!(under_way.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_ends_the_others_where_they_are() {
    let (began, under_way) = (Instant::now(), UnderWay::default());

    let done = Together::new()
        .required("endless", takes(Duration::MAX, &under_way))
        .optional("long", Duration::MAX, takes(Duration::MAX, &under_way))
        .required("broken", fails(SECOND, "no such table"))
        .join()
        .await;

    assert_eq!(done.unwrap_err().to_string(), "broken: no such table");
    assert_eq!(began.elapsed(), SECOND);
    assert_eq!(under_way.count(), 0, "something is left");
}

#[tokio::test(start_paused = true)]
async fn what_fails_at_the_same_moment_is_told_together() {
    let done = Together::new()
        .required("one", fails(SECOND, "is away"))
        .required("later", fails(SECOND * 2, "nobody has waited for this"))
        .required("two", fails(SECOND, "is full"))
        .join()
        .await;

    let mut told = done.unwrap_err();
    told.0.sort_by_key(|failure| failure.name);
    assert_eq!(told.to_string(), "one: is away; two: is full");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_part() {
    let under_way = UnderWay::default();
    let done = Together::new()
        .required("endless", takes(Duration::MAX, &under_way))
        .required("broken", panics())
        .join()
        .await;
    let told = done.unwrap_err().to_string();
    assert!(told.starts_with("broken: panicked"), "{told}");
    assert!(told.ends_with("on purpose"), "{told}");
    assert_eq!(under_way.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn optional_step_may_fail_and_has_its_own_deadline() {
    let (began, under_way) = (Instant::now(), UnderWay::default());

    let done = Together::new()
        .optional("broken", SECOND, fails(Duration::ZERO, "is away"))
        .optional("mad", SECOND, panics())
        .optional("endless", SECOND * 2, takes(Duration::MAX, &under_way))
        .required("one", takes(SECOND, &under_way))
        .join()
        .await;

    assert_eq!(done, Ok(()));
    assert_eq!(began.elapsed(), SECOND * 2);
    assert_eq!(under_way.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_outlives_whoever_waited_for_it() {
    let under_way = UnderWay::default();
    let all = Together::new()
        .required("one", takes(SECOND, &under_way))
        .required("two", takes(SECOND, &under_way))
        .join();
    assert_eq!(under_way.count(), 0, "it has not begun");

    assert!(timeout(SECOND / 2, all).await.is_err());

    assert_eq!(under_way.count(), 0);
}

#[tokio::test]
async fn without_parts_there_is_nothing_to_wait_for() {
    assert_eq!(Together::new().join().await, Ok(()));
}
