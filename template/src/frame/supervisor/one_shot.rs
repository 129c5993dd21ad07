//! Work that is done once: started and forgotten, but not by the stop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::outcome::{Outcome, caught, erased};

/// Every one-shot that is under way.
#[derive(Debug, Default)]
pub(super) struct OneShots {
    tracker: TaskTracker,
    /// Cancelled at the deadline.
    abort: CancellationToken,
    /// How many are under way, by name.
    names: Mutex<HashMap<&'static str, Arc<AtomicUsize>>>,
}

/// One that is under way, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OneShots {
    pub(super) fn spawn<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let counted = self.count(name);
        let abort = self.abort.clone();
        self.tracker.spawn(async move {
            let _counted = counted;
            if let Some(Err(failure)) = abort.run_until_cancelled(caught(erased(work))).await {
                tracing::warn!(task = name, error = failure, "task failed");
            }
        });
    }

    /// Waits for all that are under way, and aborts what is left at the deadline, by name.
    pub(super) async fn stop(&self, deadline: Instant) -> Vec<String> {
        self.tracker.close();
        if timeout_at(deadline, self.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left: Vec<_> = names
            .iter()
            .map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| {
                if count == 1 {
                    name.to_owned()
                } else {
                    format!("{name} ({count})")
                }
            })
            .collect();
        left.sort();
        tracing::warn!(tasks = left.join(", "), "tasks aborted");
        self.abort.cancel();
        left
    }

    fn count(&self, name: &'static str) -> Counted {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let count = names.entry(name).or_default();
        count.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(count))
    }
}
