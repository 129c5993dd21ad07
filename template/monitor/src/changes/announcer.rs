//! The task that announces changes: once a second, what has lasted for `monitor.settle`, so that what flaps is not
//! announced (debounced). And the one that removes what was announced long ago.

use std::time::Duration;

use mainstay::supervisor::{SpawnError, Supervisor};

use super::store::Changes;
use crate::moment::Moment;

const NAME: &str = "announcer";

const EVERY: Duration = Duration::from_secs(1);

/// How often old changes are looked for.
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
    pub(super) fn run_by(self, supervisor: &Supervisor) -> Result<(), SpawnError> {
        let task = supervisor.every(NAME, EVERY).at_start().jitter(EVERY / 2);
        // What is not announced now is announced by others, or at the next start.
        let started = task.cancel_on_stop().run(move |_| {
            let announcer = self.clone();
            async move { announcer.turn(Moment::now()).await }
        });
        started.map(drop)
    }

    /// Announces all that has settled.
    pub(super) async fn turn(&self, now: Moment) -> Result<(), sqlx::Error> {
        self.changes.announce(now.before(self.settle)).await
    }
}

/// Has changes removed that are older than that.
pub(super) fn forget_by(
    supervisor: &Supervisor,
    changes: Changes,
    retention: Duration,
) -> Result<(), SpawnError> {
    let task = supervisor.every("retention.changes", FORGET_EVERY);
    let task = task.jitter(FORGET_EVERY / 6).cancel_on_stop();
    let started = task.run(move |_| {
        let changes = changes.clone();
        async move { changes.forget(Moment::now().before(retention)).await }
    });
    started.map(drop)
}
