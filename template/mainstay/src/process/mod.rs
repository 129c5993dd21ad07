//! The life of a process: start, run and stop, for a composition root that says what there is.
//!
//! ```ignore
//! let process = Process::init(&launch).await?;
//! let cause = match process.start(build(&settings, &process)).await {
//!     Ok(()) => process.run().await,
//!     Err(cause) => cause,
//! };
//! let mut stop = process.stop(cause);
//! stop.delay().await;
//! stop.drain().await;
//! stop.tasks().await;
//! stop.close().await;
//! Ok(stop.finish().await)
//! ```
//!
//! - The operator's listener comes first and goes last, so that a slow start and a slow stop can be
//!   watched.
//! - What a start has registered is stopped in the right phase, also when the start fails or a signal
//!   ends it.
//! - A second signal exits at once, with 128 and its number. A stop that makes no progress is ended a
//!   second before `shutdown.grace`.
//!
//! There is one `Process` in a process of the operating system: the log, the metrics and the signals
//! are its own. A test runs routes in its own process, and `serve` as a binary.

mod component;
mod stop;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use futures_util::future::select_all;
use tokio::runtime::Handle;

pub use component::Component;
pub use stop::{Cause, Stop};

use crate::Error;
use crate::cpu::Cpu;
use crate::health::Health;
use crate::lifecycle::{Lifecycle, Shutdown};
use crate::metrics::Metrics;
use crate::operator::{Operator, OperatorState, Token};
use crate::sections::Settings;
use crate::server::{self, Bound, Limits, Sockets};
use crate::service::Launch;
use crate::settings::{self, Entry, Section};
use crate::signals::Signals;
use crate::supervisor::Supervisor;
use crate::telemetry::{Export, Filtering, message};
use crate::watchdog::Pulse;

/// The process that a service runs in, from its start to its stop.
#[must_use = "a process that has begun must be stopped"]
pub struct Process {
    lifecycle: Lifecycle,
    supervisor: Supervisor,
    health: Health,
    metrics: Metrics,
    cpu: Cpu,
    shutdown: Shutdown,
    documentation: bool,
    signals: tokio::sync::Mutex<Signals>,
    sockets: Mutex<Sockets>,
    components: Mutex<Components>,
    operator: Operator,
    state: Arc<OperatorState>,
    export: Export,
}

/// The parts that a stop takes apart, by the phase in which it does.
#[derive(Default, Clone)]
struct Components {
    drained: Vec<Arc<dyn Component>>,
    closed: Vec<Arc<dyn Component>>,
}

impl Process {
    /// Starts what comes before everything else: the log, the signals, the metrics, the watchdog and
    /// the operator's listener.
    ///
    /// # Errors
    ///
    /// When one of them cannot be had.
    pub async fn init<S: Section + AsRef<Settings> + 'static>(
        launch: &Launch<S>,
    ) -> Result<Self, Error> {
        let settings: &Settings = launch.settings().as_ref();
        let export = settings.export();
        let filtering = settings.log.start(export.spans())?;
        let (reloaded, in_force) = (filtering.clone(), launch.entries().to_vec());
        let reload = launch.reload();
        let signals = Signals::listen(move || reload_settings(&reload(), &reloaded, &in_force))?;
        let metrics = Metrics::install()?;
        let lifecycle = Lifecycle::starting();
        let supervisor = Supervisor::new();
        let pulse = Pulse::default();
        let health = Health::new(&settings.health, &lifecycle, &supervisor, &pulse);
        metrics.spawn_maintenance(&supervisor)?;

        let mut sockets = Sockets::of_process(&launch.listeners());
        let socket = settings.operator.socket(&mut sockets)?;
        let state = Arc::new(OperatorState {
            lifecycle: lifecycle.clone(),
            supervisor: supervisor.clone(),
            pulse: pulse.clone(),
            health: health.clone(),
            metrics: metrics.clone(),
            observed: Mutex::default(),
            settings: launch.entries().to_vec(),
            filtering: filtering.clone(),
            token: settings.operator.token.clone().map(Token::new),
        });
        let routes = crate::operator::routes(Arc::clone(&state));
        let watched = Handle::current();
        let forced = stop::force_exit_after_grace(lifecycle.watch(), settings.shutdown.grace);
        let exported = {
            let state = Arc::clone(&state);
            export.clone().run(move || state.metrics_page())
        };
        let beside = async move {
            let kept = filtering.revert_in_time();
            _ = tokio::join!(pulse.watch(watched), forced, kept, exported);
        };
        let operator = Operator::open(socket, routes, beside).await?;
        Ok(Self {
            lifecycle,
            supervisor,
            health,
            metrics,
            cpu: Cpu::of_machine(),
            shutdown: settings.shutdown.clone(),
            documentation: settings.http.documentation,
            signals: signals.into(),
            sockets: sockets.into(),
            components: Mutex::default(),
            operator,
            state,
            export,
        })
    }

    /// Completes the start, unless a signal or the operator ends it.
    ///
    /// # Errors
    ///
    /// Why there is nothing to run: the cause of the [stop](Self::stop) that must follow.
    pub async fn start(&self, start: impl Future<Output = Result<(), Error>>) -> Result<(), Cause> {
        let mut signals = self.signals.lock().await;
        tokio::select! {
            started = start => started.map_err(Cause::StartFailed),
            signal = signals.next() => Err(Cause::Signal(signal)),
            () = self.lifecycle.asked_to_stop() => Err(Cause::Operator),
        }
    }

    /// Is ready from now on, until there is a cause to stop.
    pub async fn run(&self) -> Cause {
        self.lifecycle.ready();
        tracing::info!(message = message::READY);
        self.show_addresses();
        let components = self.components().clone();
        let components = components.drained.iter().chain(&components.closed);
        let failed = components.map(|component| component.failed());
        // Without this one, there would be nothing to select from.
        let never: futures_util::future::BoxFuture<'_, Error> =
            Box::pin(futures_util::future::pending());
        let failed = select_all(failed.chain([never]));
        let mut signals = self.signals.lock().await;
        tokio::select! {
            signal = signals.next() => Cause::Signal(signal),
            name = self.supervisor.gave_up() => Cause::GaveUp(name),
            () = self.lifecycle.asked_to_stop() => Cause::Operator,
            (error, ..) = failed => Cause::ComponentFailed(error),
        }
    }

    /// Begins the stop: from now on, the process is not ready.
    pub fn stop(self, cause: Cause) -> Stop {
        Stop::begin(self, cause)
    }

    /// Has this part stopped in the phase in which requests in flight finish.
    pub fn drain_on_stop(&self, component: impl Component) {
        let component = self.observe(component);
        self.components().drained.push(component);
    }

    /// Has this part stopped last, when no task uses it any more.
    pub fn close_on_stop(&self, component: impl Component) {
        let component = self.observe(component);
        self.components().closed.push(component);
    }

    fn observe(&self, component: impl Component) -> Arc<dyn Component> {
        if let Some(observed) = component.observed() {
            self.state.observe(observed);
        }
        Arc::new(component)
    }

    /// The socket of a listener: the one that was handed to this process by that name, or a new one.
    ///
    /// # Errors
    ///
    /// When the address is taken, not of this machine, or not allowed.
    pub fn bind(&self, listener: &'static str, address: SocketAddr) -> Result<Bound, Error> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(sockets.take(listener, address)?)
    }

    /// Serves these routes on a listener, which is drained when the process stops. There are never so
    /// many connections that files would run out.
    ///
    /// # Errors
    ///
    /// When there is no such address to be had.
    pub fn serve(
        &self,
        listener: &'static str,
        address: SocketAddr,
        routes: Router,
        limits: &Limits,
    ) -> Result<SocketAddr, Error> {
        let socket = self.bind(listener, address)?;
        let mut limits = limits.clone();
        limits.max_connections = server::room_for(limits.max_connections, self.max_files());
        let listener = socket.serve(routes, &limits)?;
        let address = listener.address();
        self.drain_on_stop(listener);
        Ok(address)
    }

    /// The files that parts may have open, beside those of connections.
    fn max_files(&self) -> usize {
        let components = self.components();
        let all = components.drained.iter().chain(&components.closed);
        all.map(|component| component.max_files()).sum()
    }

    /// Notes what the start waits for, for `/startupz?verbose`.
    pub fn set_startup_step(&self, step: &'static str) {
        self.lifecycle.set_startup_step(step);
    }

    /// The state of the process.
    #[must_use]
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// What runs tasks. They stop in reverse order, after the last request.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The probes, and the checks of what the service depends on.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The metrics of the process.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Threads for work that computes.
    #[must_use]
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// Tells a person at a terminal where to look.
    fn show_addresses(&self) {
        if !io::stdout().is_terminal() {
            return;
        }
        let operator = self.operator.address();
        for address in self.state.addresses() {
            tracing::info!("the API: http://{address}/");
            if self.documentation {
                tracing::info!("its documentation: http://{address}/docs");
            }
        }
        tracing::info!("the operator's listener: http://{operator}/api/state");
    }

    fn components(&self) -> MutexGuard<'_, Components> {
        let components = self.components.lock();
        components.unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("state", &self.lifecycle.state())
            .finish_non_exhaustive()
    }
}

/// Follows SIGHUP: puts in force what is safe to change while the service runs, and names what is not.
fn reload_settings(
    reloaded: &Result<(crate::telemetry::Filter, Vec<Entry>), settings::Problems>,
    filtering: &Filtering,
    in_force: &[Entry],
) {
    match reloaded {
        Ok((filter, entries)) => {
            let mut changed = settings::changed(in_force, entries);
            changed.retain(|key| *key != "log.filter");
            if !changed.is_empty() {
                let settings = changed.join(", ");
                tracing::warn!(settings, "changed settings that need a restart");
            }
            filtering.configure(filter);
        }
        Err(problems) => tracing::error!(%problems, "the settings are wrong; nothing has changed"),
    }
}
