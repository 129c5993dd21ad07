//! Work that runs once, without a policy. A stop waits for it.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::SpawnError;
use super::context::Outcome;
use super::task::ABORT_TIMEOUT;
use crate::panics;

#[derive(Debug, Default)]
pub(super) struct OneShots(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    /// Also holds what has ended since the last spawn.
    work: JoinSet<()>,
    names: HashMap<Id, &'static str>,
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
        // Not `async` blocks, which hold what they await twice.
        let work = panics::caught(work.map(Outcome::into_failure)).map(move |ended| {
            if let Some(failure) = ended.unwrap_or_else(Some) {
                tracing::warn!(task = name, error = failure, "task failed");
            }
        });
        let mut running = self.lock();
        // The stop takes the lock after it has cancelled `closing`, and so waits for all work that was
        // spawned under the lock.
        if closing.is_cancelled() {
            return Err(SpawnError::Stopping(name.into()));
        }
        while let Some(ended) = running.work.try_join_next_with_id() {
            running.forget(ended);
        }
        let id = running.work.spawn(work).id();
        running.names.insert(id, name);
        Ok(())
    }

    /// Waits for all work. At the deadline, aborts the rest, and returns its names.
    pub(super) async fn stop(&self, deadline: Instant) -> Vec<String> {
        if timeout_at(deadline, self.all_ended()).await.is_ok() {
            return Vec::new();
        }
        let left = self.alive();
        tracing::warn!(tasks = left.join(", "), "tasks aborted");
        self.lock().work.abort_all();
        _ = timeout(ABORT_TIMEOUT, self.all_ended()).await;
        left
    }

    /// The names of the work that runs, each with its number if it is not 1.
    pub(super) fn alive(&self) -> Vec<String> {
        let mut counts = BTreeMap::new();
        for name in self.lock().names.values() {
            *counts.entry(*name).or_insert(0) += 1;
        }
        let alive = counts.into_iter().map(|(name, count)| match count {
            1 => name.to_owned(),
            _ => format!("{name} ({count})"),
        });
        alive.collect()
    }

    async fn all_ended(&self) {
        let next = || poll_fn(|context| self.lock().work.poll_join_next_with_id(context));
        while let Some(ended) = next().await {
            self.lock().forget(ended);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.names.remove(&id);
    }
}

impl Drop for Running {
    /// Dropping the supervisor stops no work.
    fn drop(&mut self) {
        self.work.detach_all();
    }
}
