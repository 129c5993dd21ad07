//! Work that is done once: started and forgotten, but not by the stop.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::error::SpawnError;
use super::outcome::Outcome;
use super::task::ABORTING;
use crate::panics;

/// Every one-shot that is under way.
#[derive(Debug, Default)]
pub(super) struct OneShots {
    shots: Mutex<JoinSet<()>>,
    /// How many are under way, by name. There are few names, and each is looked up by every shot.
    names: Mutex<Vec<(&'static str, Arc<AtomicUsize>)>>,
}

/// One that is under way, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OneShots {
    pub(super) fn spawn<F>(
        &self,
        name: &'static str,
        work: F,
        closing: &CancellationToken,
    ) -> Result<(), SpawnError>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let counted = self.count(name);
        let mut shots = lock(&self.shots);
        // Looked at under the lock, which the stop takes after it has begun: whatever gets past
        // this is waited for.
        if closing.is_cancelled() {
            return Err(SpawnError::Stopping(name.into()));
        }
        // The set keeps what has ended until it is asked for it.
        while shots.try_join_next().is_some() {}
        shots.spawn(async move {
            let _counted = counted;
            let work = async { work.await.into_failure() };
            if let Some(failure) = panics::caught(work).await.unwrap_or_else(Some) {
                tracing::warn!(task = name, error = failure, "task failed");
            }
        });
        Ok(())
    }

    /// Waits for all that are under way, and aborts what is left at the deadline, by name.
    pub(super) async fn stop(&self, deadline: Instant) -> Vec<String> {
        let mut shots = std::mem::take(&mut *lock(&self.shots));
        if timeout_at(deadline, all(&mut shots)).await.is_ok() {
            return Vec::new();
        }
        let left = self.alive();
        tracing::warn!(tasks = left.join(", "), "tasks aborted");
        shots.abort_all();
        _ = timeout(ABORTING, all(&mut shots)).await;
        left
    }

    /// The names of all that are under way, in their order; with a number if there are several.
    pub(super) fn alive(&self) -> Vec<String> {
        let mut alive: Vec<_> = lock(&self.names)
            .iter()
            .map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| match count {
                1 => name.to_owned(),
                _ => format!("{name} ({count})"),
            })
            .collect();
        alive.sort();
        alive
    }

    fn count(&self, name: &'static str) -> Counted {
        let mut names = lock(&self.names);
        let known = names.iter().find(|(known, _)| *known == name);
        let count = if let Some((_, count)) = known {
            Arc::clone(count)
        } else {
            names.push((name, Arc::default()));
            Arc::clone(&names[names.len() - 1].1)
        };
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

/// Completes when all of them have ended.
async fn all(shots: &mut JoinSet<()>) {
    while shots.join_next().await.is_some() {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
