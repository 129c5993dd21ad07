//! The stop, from its cause to the outcome of the process: four phases, each with a deadline, and the two ways
//! to end them early.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, interval_at, sleep, sleep_until, timeout_at};

use super::{Component, Process};
use crate::Error;
use crate::lifecycle::{Exit, Lifecycle, Phase, State};
use crate::panics::{self, lock};
use crate::signals::{Signal, Signals};
use crate::telemetry::{self, message};

/// Why the process stops.
#[derive(Debug)]
pub enum Cause {
    /// A signal of the operating system.
    Signal(Signal),
    /// `POST /api/stop` on the operator's listener.
    Operator,
    /// A critical task failed too often, and was given up.
    GaveUp(Arc<str>),
    /// The start failed.
    StartFailed(Error),
}

impl Cause {
    fn log(&self) {
        match self {
            Self::Signal(signal) => tracing::info!(message = message::DRAINING, %signal),
            Self::Operator => tracing::info!(message = message::DRAINING, cause = "the operator"),
            Self::GaveUp(task) => tracing::error!(
                message = message::DRAINING,
                cause = "a critical task was given up",
                task = &**task
            ),
            Self::StartFailed(error) => telemetry::log_failure(&**error),
        }
    }
}

impl Process {
    /// Stops the process in its phases, each of which has a budget in [`Shutdown`](crate::lifecycle::Shutdown), and
    /// returns its outcome. SIGQUIT skips the delay. The operator's listener answers probes until the end.
    pub async fn stop(self, cause: Cause) -> Exit {
        let (lifecycle, supervisor) = (&self.state.lifecycle, &self.state.supervisor);
        let shutdown = &self.shutdown;
        let (drained, closed) = (lock(&self.drained).clone(), lock(&self.closed).clone());

        // From now on, `/readyz` fails, and every HTTP/1 response carries `Connection: close`. No load balancer knows a
        // process that was never ready, so that it needs no delay.
        let was_serving = lifecycle.state() == State::Ready && !drained.is_empty();
        let delay = match cause {
            Cause::Signal(Signal::Quit) => Duration::ZERO,
            _ if !was_serving => Duration::ZERO,
            _ => shutdown.delay,
        };
        let deadline = lifecycle.begin_phase(Phase::Delay, delay);
        for component in &drained {
            component.announce_stop();
        }
        cause.log();
        let mut work = Work {
            lifecycle,
            signals: self.signals.into_inner(),
            is_signalled: matches!(cause, Cause::Signal(_)),
            progress: interval_at(Instant::now() + PROGRESS, PROGRESS),
            abandoned: Vec::new(),
        };

        let delay = sleep_until(deadline).map(|()| Vec::new());
        work.run(|| all_pending(&drained), delay).await;

        let deadline = lifecycle.begin_phase(Phase::Drain, shutdown.drain);
        let drain = stop_all(&drained, deadline);
        work.run(|| all_pending(&drained), drain).await;

        let deadline = lifecycle.begin_phase(Phase::Tasks, shutdown.tasks);
        let stop_tasks = async {
            let tasks = supervisor.stop(shutdown.tasks).await;
            [tasks, self.cpu.stop(deadline).await].concat()
        };
        let pending = || [supervisor.alive(), self.cpu.running()].concat();
        work.run(pending, stop_tasks).await;

        let deadline = lifecycle.begin_phase(Phase::Close, shutdown.close);
        let close = stop_all(&closed, deadline);
        #[cfg(feature = "otlp")]
        let close = async { tokio::join!(close, telemetry::otlp::close(shutdown.close)).0 };
        work.run(|| all_pending(&closed), close).await;

        lifecycle.state.send_replace(State::Stopped);
        drop(self.operator);
        match cause {
            Cause::GaveUp(_) | Cause::StartFailed(_) => Exit::Failed,
            Cause::Signal(_) | Cause::Operator if work.abandoned.is_empty() => Exit::Clean,
            Cause::Signal(_) | Cause::Operator => Exit::Abandoned(work.abandoned),
        }
    }
}

/// How often the log names what the stop waits for.
const PROGRESS: Duration = Duration::from_secs(5);

struct Work<'a> {
    lifecycle: &'a Lifecycle,
    signals: Signals,
    /// Whether the next signal is the second one.
    is_signalled: bool,
    progress: Interval,
    abandoned: Vec<String>,
}

impl Work<'_> {
    /// Runs the work of one phase, which keeps to the deadline by itself. A second signal exits at once.
    async fn run(
        &mut self,
        pending: impl Fn() -> Vec<String>,
        work: impl Future<Output = Vec<String>>,
    ) {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                abandoned = &mut work => return self.abandoned.extend(abandoned),
                signal = self.signals.next() => {
                    if self.is_signalled {
                        exit_at_once(&Exit::Killed(signal));
                    }
                    self.is_signalled = true;
                    tracing::info!(%signal, "stopping already");
                }
                _ = self.progress.tick() => self.log_progress(&pending()),
            }
        }
    }

    fn log_progress(&self, pending: &[String]) {
        if let State::Draining { phase, until } = self.lifecycle.state() {
            let left = until.saturating_duration_since(Instant::now()).as_secs();
            tracing::info!(
                message = message::WAITING,
                %phase,
                "for" = pending.join(", "),
                left = %humantime::format_duration(Duration::from_secs(left)),
            );
        }
    }
}

fn all_pending(components: &[Arc<dyn Component>]) -> Vec<String> {
    components.iter().flat_map(|it| it.pending()).collect()
}

/// Stops components at the same time. One that panics or is late is named, and does not delay the others.
async fn stop_all(components: &[Arc<dyn Component>], deadline: Instant) -> Vec<String> {
    /// Extra time for a component that keeps to the deadline by itself.
    const MARGIN: Duration = Duration::from_secs(1);
    let stopped = components.iter().map(async |component| {
        let stopped = panics::caught(component.stop(deadline));
        match timeout_at(deadline + MARGIN, stopped).await {
            Ok(Ok(abandoned)) => abandoned,
            Ok(Err(_)) | Err(_) => vec![component.name().to_owned()],
        }
    });
    join_all(stopped).await.concat()
}

fn exit_at_once(exit: &Exit) -> ! {
    exit.log();
    telemetry::flush();
    std::process::exit(exit.code().into())
}

/// Exits if a stop makes no progress: a stalled runtime does not notice the deadlines of its phases. This runs on
/// the operator's thread, and exits a second before SIGKILL.
pub(super) async fn force_exit_after_grace(mut lifecycle: watch::Receiver<State>, grace: Duration) {
    let begun = lifecycle.wait_for(|state| matches!(state, State::Draining { .. }));
    if begun.await.is_err() {
        return;
    }
    sleep(grace.saturating_sub(Duration::from_secs(1))).await;
    exit_at_once(&Exit::Abandoned(vec![
        "a stop that made no progress".to_owned(),
    ]));
}
