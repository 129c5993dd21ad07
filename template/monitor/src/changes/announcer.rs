//! Two tasks. One announces each second the states that have lasted for `monitor.settle`, so that flapping
//! targets are not announced (debounce). The other one removes old changes.

use std::time::Duration;

use mainstay::supervisor::{SpawnError, Supervisor};

use super::store::Changes;
use crate::timestamp::Timestamp;

const NAME: &str = "announcer";

const EVERY: Duration = Duration::from_secs(1);

/// How often old changes are removed.
const FORGET_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug, Clone)]
pub(super) struct Announcer {
    changes: Changes,
    settle: Duration,
}

impl Announcer {
    pub(super) fn new(changes: Changes, settle: Duration) -> Self {
        Self { changes, settle }
    }

    /// Starts the task.
    pub(super) fn spawn(self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let task = supervisor.every(NAME, EVERY).at_start().jitter(EVERY / 2);
        // A change that is not announced now is announced by another process, or after the next start.
        task.cancel_on_stop().run(move |_| {
            let announcer = self.clone();
            async move { announcer.run_once(Timestamp::now()).await }
        })
    }

    /// Announces all states that have settled.
    pub(super) async fn run_once(&self, now: Timestamp) -> Result<(), sqlx::Error> {
        self.changes.announce(now.before(self.settle)).await
    }
}

/// Starts the task that removes changes after their retention.
pub(super) fn spawn_retention(
    supervisor: &Supervisor,
    changes: Changes,
    retention: Duration,
) -> Result<(), SpawnError> {
    let task = supervisor.every("retention.changes", FORGET_EVERY);
    let task = task.jitter(FORGET_EVERY / 6).cancel_on_stop();
    task.run(move |_| {
        let changes = changes.clone();
        async move { changes.remove_old(Timestamp::now().before(retention)).await }
    })
}
