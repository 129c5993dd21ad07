//! Tasks that run once per interval, or at the times of a schedule.
//!
//! A run that takes longer than the interval delays the next one; missed runs are skipped. A run that fails,
//! panics or times out is recorded, and the next run comes at its time. The log has a repeated failure once a
//! minute, and the number of failures when they are over. A stop waits for the current run, unless the task is
//! cancelled by [`cancel_on_stop`](Periodic::cancel_on_stop).
//!
//! A schedule follows the wall clock, which may be set, and which goes on while the machine sleeps. The
//! supervisor compares it with the schedule once a minute, so that a run is late by a minute at most. Times
//! that the machine slept through, or that the clock skipped, cause one run together.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::clock;
use super::outcome::{Failure, Outcome};
use super::rhythm::{Due, Rhythm};
use super::run::{Run, caught, erased};
use super::status::Shared;
use super::{Builder, Context, Handle, SpawnError};

/// Describes a periodic task.
#[must_use = "a task is started by `run`"]
#[derive(Debug)]
pub struct Periodic {
    builder: Builder,
    beat: Beat,
}

#[derive(Debug, Clone)]
struct Beat {
    rhythm: Rhythm,
    at_start: bool,
    jitter: Duration,
    timeout: Duration,
    cancel_on_stop: bool,
}

/// The longest sleep, after which all clocks are looked at again.
const LOOK: Duration = Duration::from_mins(1);

impl Periodic {
    pub(super) fn new(builder: Builder, rhythm: Rhythm) -> Self {
        let beat = Beat {
            rhythm,
            at_start: false,
            jitter: Duration::ZERO,
            timeout: Duration::MAX,
            cancel_on_stop: false,
        };
        Self { builder, beat }
    }

    /// Runs the task at once, and not only after the first interval.
    pub fn at_start(mut self) -> Self {
        self.beat.at_start = true;
        self
    }

    /// Delays each run by a random time up to this one, so that replicas do not run at the same time.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.beat.jitter = most;
        self
    }

    /// Drops a run that takes longer, which counts as a failure.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.beat.timeout = time;
        self
    }

    /// Drops a run when the stop cancels it, instead of waiting for its end: for runs that can be dropped at
    /// any `await`, and that may wait for something that does not answer.
    pub fn cancel_on_stop(mut self) -> Self {
        self.beat.cancel_on_stop = true;
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
        let Self { builder, beat } = self;
        let make = Arc::new(make);
        builder.run(move |context| {
            let make = Arc::clone(&make);
            let run = move |context| erased(Arc::clone(&make), context);
            beat.clone().keep(context, run)
        })
    }
}

/// The failures of a task in a row.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    /// Which one was told last, and when.
    told: Option<(Failure, Instant)>,
}

/// For how long the same failure needs not be told again.
const SAME: Duration = Duration::from_mins(1);

impl Failures {
    fn add(&mut self, failure: Failure, status: &Shared) {
        self.count += 1;
        let is_told = |(told, at): &(Failure, Instant)| *told == failure && at.elapsed() < SAME;
        if self.told.as_ref().is_some_and(is_told) {
            status.failed_again(failure);
        } else {
            self.told = Some((failure.clone(), Instant::now()));
            status.failed(failure);
        }
    }

    /// A run has not failed.
    fn end(&mut self, status: &Shared) {
        if self.count > 1 {
            status.recovered(self.count);
        }
        *self = Self::default();
    }
}

impl Beat {
    async fn keep(self, context: Context, run: impl Fn(Context) -> Run) {
        let mut due = self.rhythm.start(self.at_start);
        let mut failures = Failures::default();
        // The task itself has not run yet: its runs are those that are made here.
        context.status.lock().runs -= 1;
        loop {
            tokio::select! {
                biased;
                () = context.cancelled() => return,
                () = self.turn(&mut due, &context) => {}
            }
            {
                let mut status = context.status.lock();
                status.next_run = None;
                status.runs += 1;
            }
            let run = timeout(self.timeout, caught(run(context.clone())));
            let ended = tokio::select! {
                biased;
                ended = run => ended,
                () = context.cancelled(), if self.cancel_on_stop => return,
            };
            match ended.unwrap_or_else(|_| Err(self.too_long())) {
                Ok(()) => failures.end(&context.status),
                Err(failure) => failures.add(failure, &context.status),
            }
            if context.is_cancelled() {
                return;
            }
            due.advance();
        }
    }

    /// Completes when the next run is due, and tells until then when that is.
    async fn turn(&self, due: &mut Due, context: &Context) {
        let jitter = self.jitter.mul_f64(fastrand::f64());
        loop {
            let left = due.left(jitter);
            context.status.lock().next_run = Some(clock::now() + left);
            if left.is_zero() {
                return;
            }
            sleep(left.min(LOOK)).await;
        }
    }

    fn too_long(&self) -> Failure {
        format!(
            "took longer than {}",
            humantime::format_duration(self.timeout)
        )
    }
}
