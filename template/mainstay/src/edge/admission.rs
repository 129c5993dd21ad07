//! The limit of concurrent requests.
//!
//! `http.max_in_flight` requests run at once, and `http.max_waiting` more wait up to `http.max_wait` for a permit. Any
//! other request gets 503 at once, at little cost. So admitted requests stay fast under overload.

use std::time::Duration;

use garde::Validate;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::problem::Problem;

/// The part of `[http]` that is about overload.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[expect(clippy::struct_field_names, reason = "they are those of the keys")]
pub(crate) struct Overload {
    #[garde(range(min = 1, max = 1_000_000))]
    pub(crate) max_in_flight: usize,
    pub(crate) max_waiting: usize,
    pub(crate) max_wait: Duration,
}

/// The permits, and the queue for them.
#[derive(Debug)]
pub(super) struct Admission {
    permits: Semaphore,
    queue: Semaphore,
    wait: Duration,
}

impl Admission {
    pub(super) fn new(limits: &Overload) -> Self {
        Self {
            permits: Semaphore::new(limits.max_in_flight),
            queue: Semaphore::new(limits.max_waiting.min(Semaphore::MAX_PERMITS)),
            wait: limits.max_wait,
        }
    }

    /// Takes a permit. A request waits for it until its deadline at most.
    pub(super) async fn acquire(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Problem> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let Ok(_place) = self.queue.try_acquire() else {
            return Err(Problem::OVERLOADED);
        };
        let end = deadline.min(Instant::now() + self.wait);
        let acquired = timeout_at(end, self.permits.acquire()).await;
        // The semaphore is never closed, so an error is a timeout.
        acquired
            .ok()
            .and_then(Result::ok)
            .ok_or(Problem::OVERLOADED)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    fn two_permits(waiting: usize) -> Admission {
        Admission::new(&Overload {
            max_in_flight: 2,
            max_waiting: waiting,
            max_wait: Duration::from_millis(500),
        })
    }

    async fn acquire(admission: &Admission) -> Result<SemaphorePermit<'_>, Problem> {
        let deadline = Instant::now() + Duration::from_secs(10);
        admission.acquire(deadline).await
    }

    #[tokio::test(start_paused = true)]
    async fn request_waits_no_longer_than_its_deadline() {
        let admission = two_permits(1);
        let _first = acquire(&admission).await.unwrap();
        let _second = acquire(&admission).await.unwrap();
        let began = Instant::now();
        let deadline = began + Duration::from_millis(100);
        assert!(admission.acquire(deadline).await.is_err());
        assert_eq!(began.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_request_gets_the_next_permit() {
        let admission = two_permits(1);
        let first = acquire(&admission).await.unwrap();
        let _second = acquire(&admission).await.unwrap();
        let release = async {
            sleep(Duration::from_millis(200)).await;
            drop(first);
        };
        let (third, ()) = tokio::join!(acquire(&admission), release);
        assert!(third.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_request_leaves_the_queue() {
        let admission = two_permits(1);
        let _first = acquire(&admission).await.unwrap();
        let _second = acquire(&admission).await.unwrap();
        let left = timeout(Duration::from_millis(1), acquire(&admission)).await;
        assert!(left.is_err());
        assert_eq!(admission.queue.available_permits(), 1);
    }
}
