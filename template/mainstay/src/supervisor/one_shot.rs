//! Work that runs once, without a policy. A stop waits for it.

use std::collections::BTreeMap;

use futures_util::FutureExt;
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
        // A stop that begins now waits for this lock, and so for the work.
        let mut tasks = lock(&self.tasks);
        if self.closing.is_cancelled() {
            return Err(SpawnError::Stopping(name.into()));
        }
        tasks.make_room_for_one_shot();
        let handle = self.one_shots.spawn(work).abort_handle();
        tasks.one_shots.push((name, handle));
        Ok(())
    }

    /// Waits for all work. At the deadline, aborts the rest, and returns its names.
    pub(super) async fn stop_one_shots(&self, deadline: Instant) -> Vec<String> {
        self.one_shots.close();
        if timeout_at(deadline, self.one_shots.wait()).await.is_ok() {
            return Vec::new();
        }
        let aborted = lock(&self.tasks).running_one_shots();
        tracing::warn!(tasks = aborted.join(", "), "tasks aborted");
        for (_, handle) in &lock(&self.tasks).one_shots {
            handle.abort();
        }
        _ = timeout(ABORT_TIMEOUT, self.one_shots.wait()).await;
        aborted
    }
}

impl Tasks {
    /// Forgets the work that has ended each time that the list is full, and leaves room for as much as still runs.
    fn make_room_for_one_shot(&mut self) {
        let all = &mut self.one_shots;
        if all.len() == all.capacity() {
            all.retain(|(_, handle)| !handle.is_finished());
            all.shrink_to(2 * all.len());
            all.reserve(all.len().max(16));
        }
    }

    /// The names of the work that runs, each with its number if it is not 1.
    pub(super) fn running_one_shots(&self) -> Vec<String> {
        let mut counts = BTreeMap::new();
        for (name, handle) in &self.one_shots {
            *counts.entry(*name).or_insert(0) += usize::from(!handle.is_finished());
        }
        let running = counts.into_iter().filter_map(|(name, count)| match count {
            0 => None,
            1 => Some(name.to_owned()),
            count => Some(format!("{name} ({count})")),
        });
        running.collect()
    }
}
