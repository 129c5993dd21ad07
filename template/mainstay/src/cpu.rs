//! Work for the processor: what computes for longer than about a millisecond, and would keep its thread from
//! all other tasks meanwhile.
//!
//! - There is so much of it at once as there are cores; the rest waits for its turn, in its order. Whoever goes
//!   away before that has left the queue.
//! - Work that has begun runs to its end, also if nobody waits for it any more, since no thread can be made
//!   to stop from outside. It keeps its place until then, so that there are never more than that.
//! - A panic is an error, and ends nothing else.
//! - At the stop, when the tasks have ended, nothing begins any more. What runs is waited for, and what does
//!   not end in time is left behind, and named.
//!
//! The threads are those of tokio for what blocks, with a limit of our own: there they are already, made when they
//! are needed, and there is a way to end with them. rayon is for one piece of work that is cut into many; here are
//! many pieces, and beside its threads it would need the same queue, the same limit and the same stop around it.

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

/// The cores of this machine, or of what of it we may use. All clones are the same.
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

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    #[error("{0}")]
    Panicked(String),
    #[error("the service is stopping")]
    Stopping,
}

impl Cpu {
    /// With room for as many as there are cores.
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

    /// Does this work on a thread of its own, when it is its turn. By its name it is known when the stop
    /// has to wait for it.
    ///
    /// # Errors
    ///
    /// When it panics, or has not begun when the service stops.
    pub async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let place = Arc::clone(&self.0.room).acquire_owned().await;
        let place = place.map_err(|_| Failed::Stopping)?;
        let begun = self.begin(name, place).ok_or(Failed::Stopping)?;
        let working = spawn_blocking(move || {
            let _begun = begun;
            panics::attempt(work)
        });
        // It is not aborted by us, so that only a runtime that ends leaves it out.
        let worked = working.await.map_err(|_| Failed::Stopping)?;
        worked.map_err(Failed::Panicked)
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

    /// What has begun and not ended.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        let state = self.lock();
        let names = state.names.iter();
        names.map(|name| format!("work ({name})")).collect()
    }

    /// Begins nothing any more, and waits for what has begun; says what is left at the deadline.
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

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        match failed {
            // The log has it.
            Failed::Panicked(_) => Self::INTERNAL,
            Failed::Stopping => Self::UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests;
