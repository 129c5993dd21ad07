//! The stop: its phases, each with a deadline, and the two ways to end it early.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Component, Process};
use crate::Error;
use crate::lifecycle::{self, Exit, Phase, State};
use crate::panics;
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
    /// A component ended by itself.
    ComponentFailed(Error),
}

impl Cause {
    fn log(&self) {
        telemetry::insist(|| match self {
            Self::Signal(signal) => tracing::info!(message = message::DRAINING, %signal),
            Self::Operator => tracing::info!(message = message::DRAINING, cause = "the operator"),
            Self::GaveUp(task) => tracing::error!(
                message = message::DRAINING,
                cause = "a critical task was given up",
                task = &**task
            ),
            Self::ComponentFailed(error) => {
                tracing::error!(message = message::DRAINING, cause = %error);
            }
            Self::StartFailed(error) => telemetry::log_failure(&**error),
        });
    }
}

/// A stop that is under way. Its phases are [`delay`](Self::delay), [`drain`](Self::drain),
/// [`tasks`](Self::tasks) and [`close`](Self::close), in this order; [`finish`](Self::finish) ends it.
#[must_use = "a stop does nothing by itself"]
pub struct Stop {
    process: Process,
    cause: Cause,
    phases: lifecycle::Stop,
    /// Zero if the process was never ready: no load balancer sends it requests.
    delay: Duration,
    /// Whether the next signal exits at once.
    signalled: bool,
    abandoned: Vec<String>,
}

impl Stop {
    pub(super) fn begin(process: Process, cause: Cause) -> Self {
        let was_ready = process.lifecycle.state() == State::Ready;
        let is_urgent = matches!(cause, Cause::Signal(Signal::Quit));
        let delay = if was_ready && !is_urgent {
            process.shutdown.delay
        } else {
            Duration::ZERO
        };
        let phases = process.lifecycle.stop();
        for component in &process.components().drained {
            component.announce_stop();
        }
        cause.log();
        let signalled = matches!(cause, Cause::Signal(_));
        Self {
            signalled,
            process,
            cause,
            phases,
            delay,
            abandoned: Vec::new(),
        }
    }

    /// Still serves, new connections too, so that load balancers notice that the process is not ready.
    pub async fn delay(&mut self) {
        let delay = self.delay;
        let waited = async |_: Instant| {
            sleep(delay).await;
            Vec::new()
        };
        let components = self.process.components().drained.clone();
        // A start that failed before its first listener has nothing to wait for.
        if !components.is_empty() {
            self.phase(Phase::Delay, delay, pending(&components), waited)
                .await;
        }
    }

    /// Drains servers: they accept no more connections, and requests in flight finish.
    pub async fn drain(&mut self) {
        let components = self.process.components().drained.clone();
        let budget = self.process.shutdown.drain;
        if !components.is_empty() {
            let stopped = async |deadline| stop_all(&components, deadline).await;
            self.phase(Phase::Drain, budget, pending(&components), stopped)
                .await;
        }
    }

    /// Stops the supervised tasks in reverse order, then CPU-bound work.
    pub async fn tasks(&mut self) {
        let budget = self.process.shutdown.tasks;
        let (supervisor, cpu) = (self.process.supervisor.clone(), self.process.cpu.clone());
        let alive = {
            let (supervisor, cpu) = (supervisor.clone(), cpu.clone());
            move || [supervisor.alive(), cpu.running()].concat()
        };
        let stopped = async |deadline: Instant| {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut abandoned = supervisor.stop(left).await;
            abandoned.extend(cpu.stop(deadline).await);
            abandoned
        };
        self.phase(Phase::Tasks, budget, alive, stopped).await;
    }

    /// Closes databases and other components that tasks and requests used, and exports the last
    /// traces.
    pub async fn close(&mut self) {
        let components = self.process.components().closed.clone();
        let budget = self.process.shutdown.close;
        let export = self.process.export.clone();
        let closed = async |deadline: Instant| {
            let exported = export.close(deadline.saturating_duration_since(Instant::now()));
            tokio::join!(stop_all(&components, deadline), exported).0
        };
        self.phase(Phase::Close, budget, pending(&components), closed)
            .await;
    }

    /// Closes the operator's listener, which answers probes until now. Returns the outcome of the process.
    pub async fn finish(self) -> Exit {
        self.phases.over();
        self.process.operator.shut().await;
        match self.cause {
            Cause::Signal(_) | Cause::Operator => Exit::after(self.abandoned),
            Cause::GaveUp(_) | Cause::StartFailed(_) | Cause::ComponentFailed(_) => Exit::Failed,
        }
    }

    /// Runs one phase. A second signal exits at once.
    async fn phase(
        &mut self,
        phase: Phase,
        budget: Duration,
        waits_for: impl Fn() -> Vec<String>,
        work: impl AsyncFnOnce(Instant) -> Vec<String>,
    ) {
        let deadline = Instant::now() + budget;
        let mut signals = self.process.signals.lock().await;
        let abandoned = tokio::select! {
            abandoned = self.phases.phase(phase, budget, waits_for, work(deadline)) => abandoned,
            signal = second_signal(&mut signals, &mut self.signalled) => exit_at_once(signal),
        };
        self.abandoned.extend(abandoned);
    }
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stop")
            .field("cause", &self.cause)
            .field("abandoned", &self.abandoned)
            .finish_non_exhaustive()
    }
}

fn pending(components: &[Arc<dyn Component>]) -> impl Fn() -> Vec<String> + use<> {
    let components = components.to_vec();
    move || {
        let pending = components.iter().flat_map(|component| component.pending());
        pending.collect()
    }
}

/// Stops components at the same time. One that panics or is late is named, and does not delay the others.
async fn stop_all(components: &[Arc<dyn Component>], deadline: Instant) -> Vec<String> {
    /// Extra time for a component that keeps to the deadline by itself.
    const MARGIN: Duration = Duration::from_millis(500);
    let stopped = components.iter().map(|component| async move {
        let stopped = panics::caught(component.stop(deadline));
        let stopped = timeout_at(deadline + MARGIN, stopped).await;
        match stopped {
            Ok(Ok(abandoned)) => abandoned,
            Ok(Err(_)) | Err(_) => vec![component.name().to_owned()],
        }
    });
    join_all(stopped).map(|abandoned| abandoned.concat()).await
}

/// Completes with a signal that must exit at once. If the stop began without a signal, the first signal changes
/// nothing.
async fn second_signal(signals: &mut Signals, signalled: &mut bool) -> Signal {
    if !*signalled {
        let signal = signals.next().await;
        *signalled = true;
        tracing::info!(%signal, "stopping already");
    }
    signals.next().await
}

fn exit_at_once(signal: Signal) -> ! {
    telemetry::insist(|| {
        tracing::warn!(
            message = message::STOPPED,
            outcome = "killed",
            exit_code = signal.code(),
            %signal
        );
    });
    telemetry::flush();
    std::process::exit(signal.code())
}

/// Exits if a stop makes no progress: a stalled runtime does not notice the deadlines of its phases. This runs on
/// the operator's thread, and exits a second before SIGKILL.
pub(super) async fn force_exit_after_grace(mut lifecycle: watch::Receiver<State>, grace: Duration) {
    let begun = lifecycle.wait_for(|state| matches!(state, State::Draining { .. }));
    if begun.await.is_err() {
        return;
    }
    sleep(grace.saturating_sub(Duration::from_secs(1))).await;
    let exit = Exit::after(["a stop that made no progress".to_owned()]);
    exit.log();
    telemetry::flush();
    std::process::exit(exit.code().into())
}
