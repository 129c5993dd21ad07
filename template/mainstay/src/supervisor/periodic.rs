//! Tasks that run once per interval, or at the times of a cron expression.
//!
//! A run that takes longer than the interval delays the next one; missed runs are skipped. A run that fails,
//! panics or times out is recorded, and the next run comes at its time. A stop waits for the current run, unless
//! the task is cancelled by [`cancel_on_stop`](Periodic::cancel_on_stop).
//!
//! A cron expression follows the wall clock, and is compared with it once a minute, so that a run is late by a
//! minute at most. Times that the machine slept through cause one run together. A clock that is set back repeats
//! no run.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, timeout};

use super::task::{self, Context, Factory, Outcome, Task};
use super::{Builder, SpawnError};
use crate::panics::lock;

/// Describes a periodic task.
#[must_use = "a task is started by `run`"]
#[derive(Debug, Clone)]
pub struct Periodic {
    builder: Builder,
    due: Due,
    at_start: bool,
    jitter: Duration,
    timeout: Duration,
    cancel_on_stop: bool,
}

impl Periodic {
    pub(super) fn new(builder: Builder, due: Due) -> Self {
        Self {
            builder,
            due,
            at_start: false,
            jitter: Duration::ZERO,
            timeout: Duration::MAX,
            cancel_on_stop: false,
        }
    }

    /// Runs the task at once, and not only after the first interval.
    pub fn at_start(mut self) -> Self {
        self.at_start = true;
        self
    }

    /// Delays each run by a random time up to this one, so that replicas do not run at the same time.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.jitter = most;
        self
    }

    /// Drops a run that takes longer, which counts as a failure.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Drops a run when the stop cancels it, instead of waiting for its end: for runs that can be dropped at
    /// any `await`, and that may wait for something that does not answer.
    pub fn cancel_on_stop(mut self) -> Self {
        self.cancel_on_stop = true;
        self
    }

    /// Starts the task. `make` is called for each run.
    pub fn run<M, F>(self, make: M) -> Result<(), SpawnError>
    where
        M: Fn(Context) -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let run = task::factory(make);
        let builder = self.builder.clone();
        builder.run(move |context| self.clone().repeat(context, Arc::clone(&run)))
    }

    async fn repeat(mut self, context: Context, run: Factory) {
        let task = &*context.task;
        // The supervisor has counted this loop as a run.
        lock(&task.status).runs -= 1;
        if !self.at_start {
            self.due.advance();
        }
        loop {
            tokio::select! {
                biased;
                () = context.cancelled() => return,
                () = self.wait_until_due(task) => {}
            }
            lock(&task.status).run_begins();
            let began = Instant::now();
            let ended = tokio::select! {
                biased;
                ended = timeout(self.timeout, run(context.clone())) => ended,
                () = context.cancelled(), if self.cancel_on_stop => return,
            };
            let limit = humantime::format_duration(self.timeout);
            let failure = ended.unwrap_or_else(|_| Some(format!("took longer than {limit}")));
            record(task, began, failure);
            self.due.advance();
        }
    }

    async fn wait_until_due(&self, task: &Task) {
        const MAX_SLEEP: Duration = Duration::from_mins(1);
        let jitter = self.jitter.mul_f64(fastrand::f64());
        loop {
            let left = self.due.left(jitter);
            lock(&task.status).next_run = Some(wall_clock() + left);
            if left.is_zero() {
                return;
            }
            sleep(left.min(MAX_SLEEP)).await;
        }
    }
}

fn record(task: &Task, began: Instant, failure: Option<String>) {
    let mut status = lock(&task.status);
    status.last_run = Some((Instant::now(), began.elapsed()));
    let Some(failure) = failure else {
        if mem::take(&mut status.failures) > 0 {
            tracing::info!(task = &*task.name, "task recovered");
        }
        return;
    };
    status.failures = status.failures.saturating_add(1);
    // The 1st, 2nd, 4th, 8th and so on, so that an outage does not fill the log.
    if status.failures.is_power_of_two() {
        let failures = status.failures;
        tracing::warn!(task = &*task.name, error = failure, failures, "task failed");
    }
    status.failed(failure);
}

#[derive(Debug, Clone)]
pub(super) enum Due {
    /// At a tick of the monotonic clock.
    Tick { at: Instant, interval: Duration },
    /// At a time of the wall clock.
    #[cfg(feature = "cron")]
    Scheduled {
        at: SystemTime,
        cron: Arc<super::Cron>,
    },
}

impl Due {
    /// The time left until the next run, which is delayed by `jitter`.
    fn left(&self, jitter: Duration) -> Duration {
        match self {
            Self::Tick { at, .. } => (*at + jitter).saturating_duration_since(Instant::now()),
            #[cfg(feature = "cron")]
            Self::Scheduled { at, .. } => {
                let left = (*at + jitter).duration_since(wall_clock());
                left.unwrap_or_default()
            }
        }
    }

    /// Skips to the first time after now, and after the current one.
    fn advance(&mut self) {
        match self {
            Self::Tick { at, interval } => {
                let ticks = at.elapsed().as_nanos() / interval.as_nanos() + 1;
                *at += Duration::from_nanos_u128(ticks * interval.as_nanos());
            }
            #[cfg(feature = "cron")]
            Self::Scheduled { at, cron } => {
                // A clock that was set back during the run does not repeat it.
                let last = wall_clock().max(*at);
                let last_in_utc: chrono::DateTime<chrono::Utc> = last.into();
                let next = cron.find_next_occurrence(&last_in_utc, false);
                *at = next.map_or(last + NEVER, SystemTime::from);
            }
        }
    }
}

/// The wait for the next time of an expression that never matches, such as the 31st of February.
#[cfg(feature = "cron")]
const NEVER: Duration = Duration::from_hours(10 * 366 * 24);

/// The wall clock; in a test, the one that the test has set.
pub(super) fn wall_clock() -> SystemTime {
    #[cfg(all(test, feature = "cron"))]
    if let Some(time) = super::tests::schedules::wall_clock() {
        return time;
    }
    SystemTime::now()
}
