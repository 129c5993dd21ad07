//! Tasks that run once an interval.
//!
//! A run that takes longer than the interval is not overtaken by the next: the ticks that it missed
//! are skipped. A run that fails, panics or takes too long is noted, and the next one comes in its
//! time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until, timeout};

use super::outcome::{Failure, Outcome, Run, caught, erased};
use super::{Builder, Context, Handle, Refused};

/// A periodic task that is being described.
#[must_use = "a task is started by `run`"]
#[derive(Debug)]
pub struct Every {
    builder: Builder,
    beat: Beat,
}

#[derive(Debug, Clone)]
struct Beat {
    interval: Duration,
    at_start: bool,
    jitter: Duration,
    within: Duration,
}

impl Every {
    pub(super) fn new(builder: Builder, interval: Duration) -> Self {
        let beat = Beat {
            interval,
            at_start: false,
            jitter: Duration::ZERO,
            within: Duration::MAX,
        };
        Self { builder, beat }
    }

    /// The first run is at once, and not after an interval.
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
    pub fn run<M, F>(self, make: M) -> Result<Handle, Refused>
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

impl Beat {
    async fn keep(self, context: Context, run: impl Fn(Context) -> Run) {
        let mut tick = Instant::now();
        if !self.at_start {
            tick += self.interval;
        }
        // The task itself has not run yet: its runs are those that are made here.
        context.status.lock().runs -= 1;
        loop {
            let due = tick + self.jitter.mul_f64(fastrand::f64());
            context.status.lock().next_run = Some(SystemTime::now() + (due - Instant::now()));
            tokio::select! {
                biased;
                () = context.cancelled() => return,
                () = sleep_until(due) => {}
            }
            {
                let mut status = context.status.lock();
                status.next_run = None;
                status.runs += 1;
            }
            let run = timeout(self.within, caught(run(context.clone())));
            if let Err(failure) = run.await.unwrap_or_else(|_| Err(self.too_long())) {
                context.status.failed(failure);
            }
            if context.is_cancelled() {
                return;
            }
            let now = Instant::now();
            while tick <= now {
                tick += self.interval;
            }
        }
    }

    fn too_long(&self) -> Failure {
        format!(
            "took longer than {}",
            humantime::format_duration(self.within)
        )
    }
}
