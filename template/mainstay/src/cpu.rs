//! Threads for CPU-bound work: anything that computes for more than about a millisecond, and would block a
//! thread of the runtime.
//!
//! - As many pieces run at once as there are cores; the others wait in order. A caller that goes away leaves
//!   the queue. Work that has begun runs to its end, since a thread cannot be cancelled.
//! - The stop, after the tasks have ended, starts no more work, waits for what runs, and counts what does not
//!   end in time.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::panics;
use crate::problem::Problem;

/// Runs CPU-bound work on tokio's blocking threads. Clones share their state.
#[derive(Debug, Clone)]
pub struct Cpu {
    permits: Arc<Semaphore>,
    running: TaskTracker,
}

/// Why work has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The work panicked.
    #[error("{0}")]
    Panicked(String),
    /// The process stops, and the work had not begun.
    #[error("the service is stopping")]
    Stopping,
}

impl Cpu {
    /// Runs as many pieces at once as the process may use cores. A service has [`Process::cpu`](crate::Process::cpu).
    #[must_use]
    pub fn of_machine() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            permits: Arc::new(Semaphore::new(cores)),
            running: TaskTracker::new(),
        }
    }

    /// Runs work on a thread of its own, in the order of the calls.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Error::Stopping)?;
        let working = self.running.spawn_blocking(move || {
            let _held = permit;
            panics::attempt(work)
        });
        // The work is never aborted: there is no result only when the runtime ends.
        let result = working.await.map_err(|_| Error::Stopping)?;
        result.map_err(Error::Panicked)
    }

    pub(crate) fn running(&self) -> Vec<String> {
        match self.running.len() {
            0 => Vec::new(),
            count => vec![format!("CPU-bound work ({count})")],
        }
    }

    /// Starts no more work, and waits for what runs. Returns what still runs at the deadline.
    pub async fn stop(&self, deadline: Instant) -> Vec<String> {
        self.permits.close();
        self.running.close();
        _ = timeout_at(deadline, self.running.wait()).await;
        self.running()
    }
}

impl From<Error> for Problem {
    fn from(failed: Error) -> Self {
        match failed {
            // The log has the panic.
            Error::Panicked(_) => Self::INTERNAL,
            Error::Stopping => Self::UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests;
