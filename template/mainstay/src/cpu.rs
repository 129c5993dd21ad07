//! Threads for CPU-bound work: anything that computes for more than about a millisecond, and would block a
//! thread of the runtime.
//!
//! - As many pieces run at once as there are cores; the others wait in order. A caller that goes away leaves
//!   the queue.
//! - Work that has begun runs to its end, also if its caller goes away, since a thread cannot be cancelled. It
//!   keeps its permit until then.
//! - A panic is an error, and affects nothing else.
//! - The stop, after the tasks have ended, starts no more work, waits for what runs, and names what does not
//!   end in time.
//!
//! The threads are tokio's blocking threads, limited by a semaphore. rayon would need the same queue, limit and
//! stop around it: it splits one piece of work, and here are many.

use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::panics;
use crate::problem::Problem;

/// Runs CPU-bound work. All clones are the same.
#[derive(Clone)]
pub struct Cpu(Arc<Inner>);

struct Inner {
    room: Arc<Semaphore>,
    begun: TaskTracker,
    state: Mutex<State>,
}

/// Both change together: what has begun when the stop comes is waited for.
#[derive(Default)]
struct State {
    names: Vec<&'static str>,
    is_stopping: bool,
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
    /// Runs as many pieces at once as the process may use cores. A service has
    /// [`Process::cpu`](crate::Process::cpu).
    #[must_use]
    pub fn of_machine() -> Self {
        Self::with_room(available_parallelism().map_or(1, NonZero::get))
    }

    fn with_room(places: usize) -> Self {
        Self(Arc::new(Inner {
            room: Arc::new(Semaphore::new(places)),
            begun: TaskTracker::new(),
            state: Mutex::default(),
        }))
    }

    /// Runs work on a thread of its own, in the order of the calls. The log of a stop has its name.
    ///
    /// # Errors
    ///
    /// If it panics, or the stop comes before it has begun.
    pub async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let place = Arc::clone(&self.0.room).acquire_owned().await;
        let place = place.map_err(|_| Error::Stopping)?;
        let begun = self.begin(name, place).ok_or(Error::Stopping)?;
        let working = spawn_blocking(move || {
            let _begun = begun;
            panics::attempt(work)
        });
        // It is not aborted by us, so that only a runtime that ends leaves it out.
        let worked = working.await.map_err(|_| Error::Stopping)?;
        worked.map_err(Error::Panicked)
    }

    fn begin(&self, name: &'static str, place: OwnedSemaphorePermit) -> Option<Begun> {
        let mut state = self.lock();
        if state.is_stopping {
            return None;
        }
        state.names.push(name);
        Some(Begun {
            cpu: self.clone(),
            name,
            _place: place,
            _token: self.0.begun.token(),
        })
    }

    /// The names of the work that runs.
    pub(crate) fn running(&self) -> Vec<String> {
        let state = self.lock();
        let names = state.names.iter();
        names.map(|name| format!("work ({name})")).collect()
    }

    /// Starts no more work, and waits for what runs. Returns the names of what still runs at the deadline.
    pub async fn stop(&self, deadline: Instant) -> Vec<String> {
        self.lock().is_stopping = true;
        self.0.room.close();
        self.0.begun.close();
        match timeout_at(deadline, self.0.begun.wait()).await {
            Ok(()) => Vec::new(),
            Err(_) => self.running(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cpu").field(&self.running()).finish()
    }
}

/// Work that has begun, until this is dropped.
struct Begun {
    cpu: Cpu,
    name: &'static str,
    _place: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let names = &mut self.cpu.lock().names;
        let place = names.iter().position(|name| *name == self.name);
        place.map(|place| names.swap_remove(place));
    }
}

impl From<Error> for Problem {
    fn from(failed: Error) -> Self {
        match failed {
            // The log has it.
            Error::Panicked(_) => Self::INTERNAL,
            Error::Stopping => Self::UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests;
