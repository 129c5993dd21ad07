//! Tasks that run once an interval, or at the moments of a schedule.
//!
//! A run that takes longer than it is to the next is not overtaken by that: what is missed is
//! skipped. A run that fails, panics or takes too long is noted, and the next one comes in its
//! time. One that fails for the reason that the one before it had is told in the log once a minute, and
//! when that is over, so is how often it has failed.
//! A stop waits for the run that is under way, unless that gives way.
//!
//! A schedule goes by the clock on the wall, which can be set, and which goes on while the machine
//! sleeps. It is looked at once a minute, so that a run is at most that late by it. Moments that
//! were slept through, or that the clock was set past, have one run together.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::clock;
use super::outcome::{Failure, Outcome};
use super::rhythm::{Due, Rhythm};
use super::run::{Run, caught, erased};
use super::status::Shared;
use super::{Builder, Context, Handle, SpawnError};

/// A periodic task that is being described.
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
    within: Duration,
    gives_way: bool,
}

/// The longest sleep, after which all clocks are looked at again.
const LOOK: Duration = Duration::from_mins(1);

impl Periodic {
    pub(super) fn new(builder: Builder, rhythm: Rhythm) -> Self {
        let beat = Beat {
            rhythm,
            at_start: false,
            jitter: Duration::ZERO,
            within: Duration::MAX,
            gives_way: false,
        };
        Self { builder, beat }
    }

    /// The first run is at once, and not when the rhythm has its first.
    pub fn at_start(mut self) -> Self {
        self.beat.at_start = true;
        self
    }

    /// Each run begins up to this much later, so that replicas do not run together.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.beat.jitter = most;
        self
    }

    /// A run that takes longer is given up.
    pub fn within(mut self, time: Duration) -> Self {
        self.beat.within = time;
        self
    }

    /// A run is dropped where it waits when it is told to stop: what may wait for something that does not
    /// answer, and whose next run does what is left.
    pub fn gives_way(mut self) -> Self {
        self.beat.gives_way = true;
        self
    }

    /// How long a run may take to end when the service stops; then it is aborted.
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.builder = self.builder.stop_within(time);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// When the name is taken, or the stop has begun.
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
            let run = timeout(self.within, caught(run(context.clone())));
            let ended = tokio::select! {
                biased;
                ended = run => ended,
                () = context.cancelled(), if self.gives_way => return,
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
            humantime::format_duration(self.within)
        )
    }
}
