//! Work that runs once, without a policy. A stop waits for it.

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};

use super::task::{ABORT_TIMEOUT, Outcome};
use super::{SpawnError, Supervisor, Tasks};
use crate::panics::{self, lock};

impl Supervisor {
    /// Runs work once, now. The stop waits for it.
    pub fn spawn<F>(&self, name: &'static str, work: F) -> Result<(), SpawnError>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let work = panics::caught(work.map(Outcome::into_failure)).map(move |ended| {
            if let Some(failure) = ended.unwrap_or_else(Some) {
                tracing::warn!(task = name, error = failure, "task failed");
            }
        });
        // Boxed, since an `async fn` such as `run_until_cancelled_owned` holds what it awaits twice.
        let work = work.boxed();
        let work = self.aborted.clone().run_until_cancelled_owned(work);
        // A stop that begins now waits for this lock, and so for the work.
        let mut tasks = lock(&self.tasks);
        if self.closing.is_cancelled() {
            return Err(SpawnError::Stopping(name.into()));
        }
        tasks.one_shots.entry(name).or_default().spawn(work);
        Ok(())
    }

    /// Waits for all work. At the deadline, aborts the rest, and returns its names.
    pub(super) async fn stop_one_shots(&self, deadline: Instant) -> Vec<String> {
        let trackers: Vec<_> = lock(&self.tasks).one_shots.values().cloned().collect();
        let all_ended = || {
            join_all(trackers.iter().map(|tracker| {
                tracker.close();
                tracker.wait()
            }))
        };
        if timeout_at(deadline, all_ended()).await.is_ok() {
            return Vec::new();
        }
        let aborted = lock(&self.tasks).running_one_shots();
        tracing::warn!(tasks = aborted.join(", "), "tasks aborted");
        self.aborted.cancel();
        _ = timeout(ABORT_TIMEOUT, all_ended()).await;
        aborted
    }
}

impl Tasks {
    /// The names of the work that runs, each with its number if it is not 1.
    pub(super) fn running_one_shots(&self) -> Vec<String> {
        let names = self
            .one_shots
            .iter()
            .filter_map(|(name, work)| match work.len() {
                0 => None,
                1 => Some((*name).to_owned()),
                count => Some(format!("{name} ({count})")),
            });
        names.collect()
    }
}
