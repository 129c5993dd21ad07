//! Tasks that run once per interval, or at the times of a schedule.
//!
//! A run that takes longer than the interval delays the next one; missed runs are skipped. A run that fails,
//! panics or times out is recorded, and the next run comes at its time. The log has a repeated failure once a
//! minute, and the number of failures when they are over. A stop waits for the current run, unless the task is
//! cancelled by [`cancel_on_stop`](Periodic::cancel_on_stop).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::context::{Outcome, Run, caught, erased};
#[cfg(feature = "cron")]
use super::schedule::Occurrence;
use super::status::{Failure, Shared};
use super::{Builder, Context, Handle, SpawnError, wall_clock};

/// Describes a periodic task.
#[must_use = "a task is started by `run`"]
#[derive(Debug)]
pub struct Periodic {
    builder: Builder,
    runs: Runs,
}

impl Periodic {
    pub(super) fn new(builder: Builder, due: Due) -> Self {
        let runs = Runs {
            due,
            at_start: false,
            jitter: Duration::ZERO,
            timeout: Duration::MAX,
            cancel_on_stop: false,
        };
        Self { builder, runs }
    }

    /// Runs the task at once, and not only after the first interval.
    pub fn at_start(mut self) -> Self {
        self.runs.at_start = true;
        self
    }

    /// Delays each run by a random time up to this one, so that replicas do not run at the same time.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.runs.jitter = most;
        self
    }

    /// Drops a run that takes longer, which counts as a failure.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.runs.timeout = time;
        self
    }

    /// Drops a run when the stop cancels it, instead of waiting for its end: for runs that can be dropped at
    /// any `await`, and that may wait for something that does not answer.
    pub fn cancel_on_stop(mut self) -> Self {
        self.runs.cancel_on_stop = true;
        self
    }

    /// How long a run may take to end once the stop has begun, before it is aborted. By default, 5 s.
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.builder = self.builder.stop_within(time);
        self
    }

    /// Starts the task. `make` is called for each run.
    ///
    /// # Errors
    ///
    /// If there is a task of this name, or the stop has begun.
    pub fn run<M, F>(self, make: M) -> Result<Handle, SpawnError>
    where
        M: Fn(Context) -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let Self { builder, runs } = self;
        let make = Arc::new(make);
        builder.run(move |context| {
            let make = Arc::clone(&make);
            let run = move |context| erased(Arc::clone(&make), context);
            runs.clone().repeat(context, run)
        })
    }
}

/// The longest sleep. A schedule is compared with the wall clock after it.
const MAX_SLEEP: Duration = Duration::from_mins(1);

#[derive(Debug, Clone)]
struct Runs {
    due: Due,
    at_start: bool,
    jitter: Duration,
    timeout: Duration,
    cancel_on_stop: bool,
}

impl Runs {
    async fn repeat(mut self, context: Context, run: impl Fn(Context) -> Run) {
        if !self.at_start {
            self.due.advance();
        }
        let mut failures = Failures::default();
        // The supervisor has counted this loop as a run.
        context.status.lock().runs -= 1;
        loop {
            tokio::select! {
                biased;
                () = context.cancelled() => return,
                () = self.wait_until_due(&context.status) => {}
            }
            context.status.run_begins();
            let run = timeout(self.timeout, caught(run(context.clone())));
            let ended = tokio::select! {
                biased;
                ended = run => ended,
                () = context.cancelled(), if self.cancel_on_stop => return,
            };
            let timeout = humantime::format_duration(self.timeout);
            let late = |_| Err(format!("took longer than {timeout}"));
            match ended.unwrap_or_else(late) {
                Ok(()) => failures.end(&context),
                Err(failure) => failures.add(failure, &context.status),
            }
            if context.is_cancelled() {
                return;
            }
            self.due.advance();
        }
    }

    async fn wait_until_due(&mut self, status: &Shared) {
        let jitter = self.jitter.mul_f64(fastrand::f64());
        loop {
            let left = self.due.left(jitter);
            status.lock().next_run = Some(wall_clock() + left);
            if left.is_zero() {
                return;
            }
            sleep(left.min(MAX_SLEEP)).await;
        }
    }
}

/// When the next run is due.
#[derive(Debug, Clone)]
pub(super) enum Due {
    /// At a tick of the monotonic clock.
    Tick { at: Instant, interval: Duration },
    #[cfg(feature = "cron")]
    Scheduled(Occurrence),
}

impl Due {
    pub(super) fn every(interval: Duration) -> Self {
        Self::Tick {
            at: Instant::now(),
            // Without a pause, the loop would not let other tasks run.
            interval: interval.max(Duration::from_millis(1)),
        }
    }

    /// The time left until the next run, which is delayed by `jitter`.
    fn left(&mut self, jitter: Duration) -> Duration {
        match self {
            Self::Tick { at, .. } => (*at + jitter).saturating_duration_since(Instant::now()),
            #[cfg(feature = "cron")]
            Self::Scheduled(occurrence) => occurrence.left(jitter),
        }
    }

    /// Skips to the first time after now. The current time must have come.
    fn advance(&mut self) {
        match self {
            Self::Tick { at, interval } => {
                let ticks = at.elapsed().as_nanos() / interval.as_nanos() + 1;
                *at += Duration::from_nanos_u128(ticks * interval.as_nanos());
            }
            #[cfg(feature = "cron")]
            Self::Scheduled(occurrence) => occurrence.advance(),
        }
    }
}

/// The failures of a task in a row.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    last_logged: Option<(Failure, Instant)>,
}

/// How often the same failure is logged.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

impl Failures {
    fn add(&mut self, failure: Failure, status: &Shared) {
        self.count += 1;
        let is_recent = self
            .last_logged
            .as_ref()
            .is_some_and(|(logged, at)| *logged == failure && at.elapsed() < LOG_INTERVAL);
        if is_recent {
            status.record(failure);
        } else {
            self.last_logged = Some((failure.clone(), Instant::now()));
            status.failed(failure);
        }
    }

    fn end(&mut self, context: &Context) {
        if self.count > 1 {
            tracing::info!(
                task = context.name(),
                failures = self.count,
                "task recovered"
            );
        }
        *self = Self::default();
    }
}
