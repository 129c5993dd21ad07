//! The life of a process: start, run and stop. The composition root of a service calls it:
//!
//! ```ignore
//! let process = Process::init(&launch)?;
//! let cause = match process.start(start(launch.settings(), &process)).await {
//!     Ok(()) => process.run().await,
//!     Err(cause) => cause,
//! };
//! Ok(process.stop(cause).await)
//! ```
//!
//! - The operator's listener starts first and stops last, so that a slow start and a slow stop can be watched.
//! - Each component that a start has registered is stopped in its phase, also if the start fails or a signal
//!   ends it.
//! - A second signal exits at once, with 128 and its number. A stop without progress exits a second before
//!   `shutdown.grace`.
//!
//! There is one `Process` in a process of the operating system, since it owns the log, the metrics and the signal
//! handlers.

mod component;
mod stop;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use tokio::runtime::Handle;
use tokio_util::sync::DropGuard;

pub use component::Component;
pub use stop::Cause;

pub use crate::signals::Signal;

use crate::Error;
use crate::cpu::Cpu;
use crate::health::Health;
use crate::lifecycle::{Exit, Lifecycle, Shutdown};
use crate::metrics::Metrics;
use crate::operator::{self, OperatorState};
use crate::sections::Settings;
use crate::server::{self, Bound, Limits, Sockets};
use crate::service::Launch;
use crate::settings::Section;
use crate::signals::Signals;
use crate::supervisor::Supervisor;
use crate::telemetry::{Export, message};

/// The process of a service, from its start to its stop.
#[must_use = "a process must be stopped"]
pub struct Process {
    state: Arc<OperatorState>,
    cpu: Cpu,
    shutdown: Shutdown,
    signals: tokio::sync::Mutex<Signals>,
    operator: DropGuard,
    export: Export,
    has_documentation: bool,
    parts: Mutex<Parts>,
}

/// What the start of the service takes and registers.
struct Parts {
    sockets: Sockets,
    drained: Vec<Box<dyn Component>>,
    closed: Vec<Box<dyn Component>>,
    /// Where a person at a terminal can look, logged at `ready`.
    hints: Vec<String>,
}

impl Process {
    /// Starts the log, the signal handlers, the metrics, the watchdog and the operator's listener.
    ///
    /// # Errors
    ///
    /// If one of them cannot be started.
    pub fn init<S: Section + AsRef<Settings> + 'static>(launch: &Launch<S>) -> Result<Self, Error> {
        let settings: &Settings = launch.settings().as_ref();
        #[cfg(feature = "otlp")]
        let export = Export::new(&settings.otlp);
        #[cfg(not(feature = "otlp"))]
        let export = Export::default();
        let filtering = settings.log.start_with(&export)?;
        let signals = Signals::listen(launch.reload(filtering.clone()))?;
        let metrics = Metrics::install();
        let (lifecycle, supervisor) = (Lifecycle::starting(), Supervisor::new());
        let health = Health::new(&settings.health, &lifecycle, &supervisor);

        let mut sockets = Sockets::from_env(&launch.listeners());
        let socket = settings.operator.socket(&mut sockets)?;
        let state = Arc::new(OperatorState {
            lifecycle,
            supervisor,
            health,
            metrics,
            observed: Mutex::default(),
            settings: launch.loaded.entries.clone(),
            filtering: filtering.clone(),
            token: settings.operator.token.clone(),
            refused: AtomicU64::new(0),
        });
        let routes = operator::routes(Arc::clone(&state));
        let watched = Handle::current();
        let forced = stop::force_exit_after_grace(state.lifecycle.watch(), settings.shutdown.grace);
        let (exported, pulse) = (export.clone().run(), state.health.pulse().clone());
        let beside = async move {
            let kept = filtering.revert_in_time();
            _ = tokio::join!(pulse.watch(watched), forced, kept, exported);
        };
        let address = socket.address();
        let parts = Parts {
            sockets,
            drained: Vec::new(),
            closed: Vec::new(),
            hints: vec![format!(
                "the operator's listener: http://{address}/api/state"
            )],
        };
        let operator = operator::open(socket, routes, beside)?;
        Ok(Self {
            state,
            cpu: Cpu::of_machine(),
            shutdown: settings.shutdown.clone(),
            signals: signals.into(),
            operator,
            export,
            has_documentation: settings.http.documentation,
            parts: parts.into(),
        })
    }

    /// Runs the start of the service, until it completes, or a signal or the operator ends it.
    ///
    /// # Errors
    ///
    /// The cause of the [stop](Self::stop) that must follow.
    pub async fn start(&self, start: impl Future<Output = Result<(), Error>>) -> Result<(), Cause> {
        let mut signals = self.signals.lock().await;
        tokio::select! {
            started = start => started.map_err(Cause::StartFailed),
            signal = signals.next() => Err(Cause::Signal(signal)),
            () = self.state.lifecycle.stop_requested() => Err(Cause::Operator),
        }
    }

    /// Sets the state to ready, and waits for a cause to stop.
    pub async fn run(&self) -> Cause {
        self.state.lifecycle.ready();
        tracing::info!(message = message::READY);
        if io::stdout().is_terminal() {
            for hint in &self.parts().hints {
                tracing::info!("{hint}");
            }
        }
        let mut signals = self.signals.lock().await;
        tokio::select! {
            signal = signals.next() => Cause::Signal(signal),
            name = self.state.supervisor.gave_up() => Cause::GaveUp(name),
            () = self.state.lifecycle.stop_requested() => Cause::Operator,
        }
    }

    /// Stops the process in its [phases](crate::lifecycle::Phase), each of which has a budget in `[shutdown]`, and
    /// returns its outcome. SIGQUIT skips the delay. The operator's listener answers probes until the end.
    pub async fn stop(self, cause: Cause) -> Exit {
        stop::stop(self, cause).await
    }

    /// Registers a component for the phase [`drain`](Self::stop), such as a server.
    pub fn drain_on_stop(&self, component: impl Component) {
        self.observe(&component);
        self.parts().drained.push(Box::new(component));
    }

    /// Registers a component for the phase [`close`](Self::stop), such as a database.
    pub fn close_on_stop(&self, component: impl Component) {
        self.observe(&component);
        self.parts().closed.push(Box::new(component));
    }

    fn observe(&self, component: &impl Component) {
        if let Some(observed) = component.observed() {
            self.state.observe(observed);
        }
    }

    /// The socket of a listener: the one that the process inherited by this name, or a new one.
    ///
    /// # Errors
    ///
    /// If the address is in use, not of this machine, or not allowed.
    pub fn bind(&self, listener: &'static str, address: SocketAddr) -> Result<Bound, Error> {
        Ok(self.parts().sockets.take(listener, address)?)
    }

    /// Serves these routes on a listener, and registers it for the phase [`drain`](Self::stop). The limit of
    /// its connections is lowered if the process may not open as many files. Returns its address.
    ///
    /// # Errors
    ///
    /// Like [`bind`](Self::bind).
    pub fn serve(
        &self,
        listener: &'static str,
        address: SocketAddr,
        routes: Router,
        limits: &Limits,
    ) -> Result<SocketAddr, Error> {
        let socket = self.bind(listener, address)?;
        let mut limits = limits.clone();
        let files = {
            let parts = self.parts();
            let components = parts.drained.iter().chain(&parts.closed);
            components.map(|component| component.max_files()).sum()
        };
        limits.max_connections = server::room_for(limits.max_connections, files);
        let listener = socket.serve(routes, &limits)?;
        let address = listener.address();
        let mut hints = vec![format!("the API: http://{address}/")];
        if self.has_documentation {
            hints.push(format!("its documentation: http://{address}/docs"));
        }
        self.parts().hints.extend(hints);
        self.drain_on_stop(listener);
        Ok(address)
    }

    /// Sets what the start waits for, for `/startupz?verbose`.
    pub fn set_startup_step(&self, step: &'static str) {
        self.state.lifecycle.set_startup_step(step);
    }

    /// The state of the process.
    #[must_use]
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.state.lifecycle
    }

    /// Runs the tasks of the service. They stop in reverse order, after the last request.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.state.supervisor
    }

    /// The probes, and the checks of dependencies.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.state.health
    }

    /// The metrics of the process.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.state.metrics
    }

    /// Threads for CPU-bound work.
    #[must_use]
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("state", &self.state.lifecycle.state())
            .finish_non_exhaustive()
    }
}
