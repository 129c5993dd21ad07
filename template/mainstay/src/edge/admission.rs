//! The limit of concurrent requests.
//!
//! `http.max_in_flight` requests run at once, and `http.max_waiting` more wait up to `http.max_wait` for a permit. Any
//! other request gets 503 at once, at little cost. So admitted requests stay fast under overload. A request whose body
//! stalls holds [no permit](super::turn).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::context::Context;
use crate::problem::Problem;
use crate::settings::{Check, Reader, Section};

/// The part of `[http]` that is about overload.
#[derive(Debug, Clone)]
pub(crate) struct Overload {
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) wait: Duration,
}

impl Section for Overload {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            in_flight: from.value("max_in_flight"),
            waiting: from.value("max_waiting"),
            wait: from.value("max_wait"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.range("http.max_in_flight", self.in_flight, 1..=1_000_000);
    }
}

/// The places.
#[derive(Debug)]
pub(super) struct Admission {
    places: Semaphore,
    waiting: AtomicUsize,
    /// What those who have stepped out have brought, and the most of it, in bytes.
    outside: AtomicUsize,
    most_outside: usize,
    limits: Overload,
}

impl Admission {
    /// Each that is let in may bring a body up to this limit.
    pub(super) fn new(limits: Overload, body_limit: usize) -> Self {
        Self {
            places: Semaphore::new(limits.in_flight),
            waiting: AtomicUsize::new(0),
            outside: AtomicUsize::new(0),
            most_outside: limits.in_flight.saturating_mul(body_limit),
            limits,
        }
    }

    /// A place that was forgotten is free again.
    pub(super) fn give_back(&self) {
        self.places.add_permits(1);
    }

    /// Whether there is memory for what one who has no place has brought: until it
    /// [has one again](Self::came_back), or is gone.
    pub(super) fn may_step_out(&self, brought: usize) -> bool {
        let before = self.outside.fetch_add(brought, Ordering::Relaxed);
        let may = before.saturating_add(brought) <= self.most_outside;
        if !may {
            self.came_back(brought);
        }
        may
    }

    pub(super) fn came_back(&self, brought: usize) {
        self.outside.fetch_sub(brought, Ordering::Relaxed);
    }

    /// A place, until it is dropped.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>, Problem> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let waits = Waiting::among(&self.waiting, self.limits.waiting);
        let _waits = waits.ok_or(Problem::OVERLOADED)?;
        // No longer than there is time for the request.
        let left = Context::time_left().unwrap_or(Duration::MAX);
        match timeout(self.limits.wait.min(left), self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            // The places are never closed: it took too long.
            Ok(Err(_)) | Err(_) => Err(Problem::OVERLOADED),
        }
    }
}

/// One of those who wait, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let waits = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(waits)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn with(waiting: usize) -> Admission {
        let limits = Overload {
            in_flight: 2,
            waiting,
            wait: Duration::from_millis(500),
        };
        Admission::new(limits, 10)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_waits_and_not_for_long() {
        let admission = with(1);
        let places = [
            admission.enter().await.unwrap(),
            admission.enter().await.unwrap(),
        ];
        let began = Instant::now();
        assert_eq!(admission.enter().await.unwrap_err().code, "overloaded");
        assert_eq!(began.elapsed(), Duration::from_millis(500));
        drop(places);
        _ = admission.enter().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_there_is_time() {
        let admission = with(1);
        let _first = admission.enter().await.unwrap();
        let _second = admission.enter().await.unwrap();
        let began = Instant::now();
        let request = Context::until(began + Duration::from_millis(100));
        assert!(request.scope(admission.enter()).await.is_err());
        assert_eq!(began.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_has_the_next_place() {
        let admission = with(1);
        let first = admission.enter().await.unwrap();
        let _second = admission.enter().await.unwrap();
        let leaves = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(first);
        };
        let (third, ()) = tokio::join!(admission.enter(), leaves);
        assert!(third.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_all_of_them_waiting_is_told_at_once() {
        let admission = with(2);
        let _first = admission.enter().await.unwrap();
        let _second = admission.enter().await.unwrap();
        let began = Instant::now();
        let too_many = async {
            tokio::task::yield_now().await;
            assert!(admission.enter().await.is_err());
            assert_eq!(began.elapsed(), Duration::ZERO);
        };
        let (third, fourth, ()) = tokio::join!(admission.enter(), admission.enter(), too_many);
        assert!(third.is_err() && fourth.is_err());
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn requests_that_stepped_out_have_bounded_memory() {
        let admission = with(1);
        assert!(admission.may_step_out(10) && admission.may_step_out(10));
        assert!(!admission.may_step_out(1));
        admission.came_back(10);
        assert!(admission.may_step_out(1));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_while_waiting_makes_room() {
        let admission = with(1);
        let _first = admission.enter().await.unwrap();
        let _second = admission.enter().await.unwrap();
        let left = timeout(Duration::from_millis(1), admission.enter()).await;
        assert!(left.is_err());
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }
}
