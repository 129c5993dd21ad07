//! Work that runs once, without a policy. A stop waits for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SpawnError;
use super::context::Outcome;
use super::task::ABORT_TIMEOUT;
use crate::panics;

#[derive(Debug, Default)]
pub(super) struct OneShots {
    by_name: Mutex<BTreeMap<&'static str, TaskTracker>>,
    aborted: CancellationToken,
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
        let work = async move { work.await.into_failure() };
        let work = async move {
            if let Some(failure) = panics::caught(work).await.unwrap_or_else(Some) {
                tracing::warn!(task = name, error = failure, "task failed");
            }
        };
        let mut by_name = self.lock();
        // The stop takes the lock after it has cancelled `closing`, and so waits for all work that was
        // spawned under the lock.
        if closing.is_cancelled() {
            return Err(SpawnError::Stopping(name.into()));
        }
        let aborted = self.aborted.clone();
        by_name
            .entry(name)
            .or_default()
            .spawn(aborted.run_until_cancelled_owned(work));
        Ok(())
    }

    /// Waits for all work. At the deadline, aborts the rest, and returns its names.
    pub(super) async fn stop(&self, deadline: Instant) -> Vec<String> {
        if timeout_at(deadline, self.ended()).await.is_ok() {
            return Vec::new();
        }
        let left = self.alive();
        tracing::warn!(tasks = left.join(", "), "tasks aborted");
        self.aborted.cancel();
        _ = timeout(ABORT_TIMEOUT, self.ended()).await;
        left
    }

    /// The names of the work that runs, each with its number if it is not 1.
    pub(super) fn alive(&self) -> Vec<String> {
        let by_name = self.lock();
        let alive = by_name.iter().map(|(name, work)| (name, work.len()));
        alive
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| match count {
                1 => (*name).to_owned(),
                _ => format!("{name} ({count})"),
            })
            .collect()
    }

    async fn ended(&self) {
        let trackers: Vec<_> = self.lock().values().cloned().collect();
        for tracker in trackers {
            tracker.close();
            tracker.wait().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, TaskTracker>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
