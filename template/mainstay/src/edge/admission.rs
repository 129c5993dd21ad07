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
use crate::settings::whole_number;

/// The part of `[http]` that is about overload.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[expect(clippy::struct_field_names, reason = "they are those of the keys")]
pub(crate) struct Overload {
    #[serde(deserialize_with = "whole_number::<1, 1_000_000, _, _>")]
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
        match timeout_at(end, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed, so an error is a timeout.
            _ => Err(Problem::OVERLOADED),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    async fn acquire(admission: &Admission, within: u64) -> Result<SemaphorePermit<'_>, Problem> {
        let deadline = Instant::now() + Duration::from_millis(within);
        admission.acquire(deadline).await
    }

    #[tokio::test(start_paused = true)]
    async fn request_waits_for_a_permit_until_its_deadline() {
        let admission = Admission::new(&Overload {
            max_in_flight: 1,
            max_waiting: 1,
            max_wait: Duration::from_millis(500),
        });
        let first = acquire(&admission, 0).await.unwrap();
        let began = Instant::now();
        assert!(acquire(&admission, 100).await.is_err());
        assert_eq!(began.elapsed(), Duration::from_millis(100));
        let release = async {
            sleep(Duration::from_millis(200)).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(acquire(&admission, 10_000), release);
        assert!(second.is_ok());
    }
}
