//! The life of a process: start, run and stop, which the composition root of a service calls.
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
use std::sync::{Arc, Mutex};

use axum::Router;
use tokio::runtime::Handle;
use tokio_util::sync::DropGuard;

pub use component::Component;
pub use stop::Cause;

pub use crate::signals::Signal;

use crate::Error;
use crate::cpu::Cpu;
use crate::health::Health;
use crate::lifecycle::{Lifecycle, Shutdown};
use crate::metrics::Metrics;
use crate::operator::{self, Numbers, OperatorState};
use crate::panics::lock;
use crate::sections::Settings;
use crate::server::{self, Bound, Limits, Sockets};
use crate::service::Launch;
use crate::settings::Section;
use crate::signals::Signals;
use crate::supervisor::Supervisor;
use crate::telemetry;

/// The process of a service, from its start to its stop.
#[must_use = "a process must be stopped"]
#[expect(missing_debug_implementations, reason = "its parts have no short form")]
pub struct Process {
    state: Arc<OperatorState>,
    cpu: Cpu,
    shutdown: Shutdown,
    signals: tokio::sync::Mutex<Signals>,
    operator: DropGuard,
    sockets: Mutex<Sockets>,
    drained: Components,
    closed: Components,
    has_documentation: bool,
    /// Where a person at a terminal can look, logged at `ready`.
    hints: Mutex<Vec<String>>,
}

type Components = Arc<Mutex<Vec<Arc<dyn Component>>>>;

impl Process {
    /// Starts the log, the signal handlers, the metrics, the watchdog and the operator's listener.
    pub fn init<S: Section + AsRef<Settings> + 'static>(launch: &Launch<S>) -> Result<Self, Error> {
        let settings: &Settings = launch.settings().as_ref();
        #[cfg(feature = "otlp")]
        telemetry::otlp::prepare(&settings.otlp);
        let log_filter = settings.log.start_with_handle()?;
        let signals = Signals::listen(launch.reload(log_filter.clone()))?;
        let metrics = Metrics::install();
        let (lifecycle, supervisor) = (Lifecycle::starting(), Supervisor::new());
        let health = Health::new(&settings.health, &lifecycle, &supervisor);

        let mut sockets = Sockets::from_env(&launch.listeners());
        let socket = settings.operator.socket(&mut sockets)?;
        let (drained, closed) = (Components::default(), Components::default());
        let registered = [Arc::clone(&drained), Arc::clone(&closed)];
        let numbers = move || {
            let mut numbers = Numbers::default();
            for component in registered.iter().flat_map(|it| lock(it).clone()) {
                component.observe(&mut numbers);
            }
            numbers
        };
        let state = Arc::new(OperatorState {
            lifecycle,
            supervisor,
            health,
            metrics,
            numbers: Box::new(numbers),
            settings: launch.loaded.entries.clone(),
            log_filter: log_filter.clone(),
            token: settings.operator.token.clone(),
            refused: AtomicU64::new(0),
        });
        let routes = operator::routes(Arc::clone(&state));
        let watched = Handle::current();
        let states = state.lifecycle.state.subscribe();
        let forced = stop::force_exit_after_grace(states, settings.shutdown.grace);
        let pulse = state.health.pulse.clone();
        let background = async move {
            let others = log_filter.revert_expired();
            #[cfg(feature = "otlp")]
            let others = async { tokio::join!(others, telemetry::otlp::run()) };
            _ = tokio::join!(pulse.watch(watched), forced, others);
        };
        let address = socket.address();
        let hint = format!("the operator's listener: http://{address}/api/state");
        let operator = operator::open(socket, routes, background)?;
        Ok(Self {
            state,
            cpu: Cpu::of_machine(),
            shutdown: settings.shutdown.clone(),
            signals: signals.into(),
            operator,
            sockets: sockets.into(),
            drained,
            closed,
            has_documentation: settings.http.documentation,
            hints: vec![hint].into(),
        })
    }

    /// Runs the start of the service, until it completes, or a signal or the operator ends it. Returns the cause of
    /// the [stop](Self::stop) that must follow.
    pub async fn start(&self, start: impl Future<Output = Result<(), Error>>) -> Result<(), Cause> {
        tokio::select! {
            started = start => started.map_err(Cause::StartFailed),
            cause = self.cause_to_stop() => Err(cause),
        }
    }

    /// Sets the state to ready, and waits for a cause to stop.
    pub async fn run(&self) -> Cause {
        self.state.lifecycle.ready();
        tracing::info!(message = telemetry::message::READY);
        if io::stdout().is_terminal() {
            for hint in &*lock(&self.hints) {
                tracing::info!("{hint}");
            }
        }
        self.cause_to_stop().await
    }

    async fn cause_to_stop(&self) -> Cause {
        let mut signals = self.signals.lock().await;
        tokio::select! {
            signal = signals.next() => Cause::Signal(signal),
            name = self.state.supervisor.critical_failure() => Cause::GaveUp(name),
            () = self.state.lifecycle.stop_requested.cancelled() => Cause::Operator,
        }
    }

    /// Registers a component for the phase [`drain`](Self::stop), such as a server.
    pub fn drain_on_stop(&self, component: impl Component) {
        lock(&self.drained).push(Arc::new(component));
    }

    /// Registers a component for the phase [`close`](Self::stop), such as a database.
    pub fn close_on_stop(&self, component: impl Component) {
        lock(&self.closed).push(Arc::new(component));
    }

    /// The socket of a listener: the one that the process inherited by this name, or a new one.
    pub fn bind(&self, listener: &'static str, address: SocketAddr) -> Result<Bound, Error> {
        Ok(lock(&self.sockets).take(listener, address)?)
    }

    /// Serves these routes on a listener, and registers it for the phase [`drain`](Self::stop). The limit of
    /// its connections is lowered if the process may not open as many files. Returns its address.
    pub fn serve(
        &self,
        listener: &'static str,
        address: SocketAddr,
        routes: Router,
        limits: &Limits,
    ) -> Result<SocketAddr, Error> {
        let socket = self.bind(listener, address)?;
        let mut limits = limits.clone();
        limits.max_connections = server::room_for(limits.max_connections);
        let listener = socket.serve(routes, &limits)?;
        let address = listener.address();
        self.drain_on_stop(listener);
        let page = if self.has_documentation { "docs" } else { "" };
        lock(&self.hints).push(format!("the API: http://{address}/{page}"));
        Ok(address)
    }

    /// Sets what the start waits for, for `/startupz?verbose`.
    pub fn set_startup_step(&self, step: &'static str) {
        let current = &self.state.lifecycle.step;
        current.send_modify(|current| *current = current.and(Some(step)));
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
}
