//! Work that runs once, without a policy. A stop waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SpawnError;
use super::task::ABORT_TIMEOUT;
use super::task::Outcome;
use crate::panics;

#[derive(Debug, Clone, Default)]
pub(super) struct OneShots {
    running: TaskTracker,
    aborted: CancellationToken,
    /// How much work of each name runs.
    counts: Arc<Mutex<BTreeMap<&'static str, usize>>>,
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
        // A stop that begins now waits for this token, and so for the work.
        let _token = self.running.token();
        if closing.is_cancelled() {
            return Err(SpawnError::Stopping(name.into()));
        }
        let counts = Arc::clone(&self.counts);
        let count = move |change| {
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(name).or_default();
            *count = count.saturating_add_signed(change);
        };
        count(1);
        // Boxed, since an `async fn` such as `run_until_cancelled_owned` holds what it awaits twice.
        let work = panics::caught(work.map(Outcome::into_failure)).map(move |ended| {
            if let Some(failure) = ended.unwrap_or_else(Some) {
                tracing::warn!(task = name, error = failure, "task failed");
            }
            count(-1);
        });
        let work = work.boxed();
        let aborted = self.aborted.clone();
        self.running.spawn(aborted.run_until_cancelled_owned(work));
        Ok(())
    }

    /// Waits for all work. At the deadline, aborts the rest, and returns its names.
    pub(super) async fn stop(&self, deadline: Instant) -> Vec<String> {
        self.running.close();
        if timeout_at(deadline, self.running.wait()).await.is_ok() {
            return Vec::new();
        }
        let left = self.alive();
        tracing::warn!(tasks = left.join(", "), "tasks aborted");
        self.aborted.cancel();
        _ = timeout(ABORT_TIMEOUT, self.running.wait()).await;
        left
    }

    /// The names of the work that runs, each with its number if it is not 1.
    pub(super) fn alive(&self) -> Vec<String> {
        if self.running.is_empty() {
            return Vec::new();
        }
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = counts.iter().filter(|(_, count)| **count > 0);
        let alive = alive.map(|(name, count)| match count {
            1 => (*name).to_owned(),
            _ => format!("{name} ({count})"),
        });
        alive.collect()
    }
}
