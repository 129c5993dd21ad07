//! The composition root: what the process is made of, from its start to its stop. Read it from top to
//! bottom.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "a test may block: the thread is its own"
    )
)]

mod commands;
pub mod frame;
pub mod service;

/// Tests have databases of their own.
#[cfg(test)]
#[path = "../tests/support/scratch.rs"]
mod scratch;

/// … and read metrics as Prometheus does.
#[cfg(test)]
#[path = "../tests/support/exposition.rs"]
mod exposition;

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use frame::Frame;
use frame::cli::Given;
use frame::cpu::Cpu;
use frame::database::Database;
use frame::edge;
use frame::health::Health;
use frame::idempotency::Keys;
use frame::lifecycle::{Exit, Lifecycle, Phase, Shutdown, State};
use frame::metrics::Metrics;
use frame::openapi;
use frame::operator::{self, Operator, Token};
use frame::server::{self, Listener, Sockets, Watch};
use frame::settings::{self, Entry, Loaded};
use frame::signals::{Signal, Signals};
use frame::supervisor::Supervisor;
use frame::telemetry::{self, Export, Filtering, message};
use frame::watchdog::Pulse;
use service::Settings;

pub use commands::main;

type Fault = Box<dyn Error + Send + Sync>;
type Outcome = Result<Exit, Fault>;

/// The life of the service. Its last event says how it ended.
async fn serve(loaded: Loaded<Settings>, given: Given) -> Outcome {
    let export = Export::to(&loaded.settings.frame.otlp);
    let filtering = loaded.settings.frame.log.start(export.spans())?;
    let exit = live(loaded, given, filtering, export)
        .await
        .unwrap_or_else(|error| {
            failed(&*error);
            Exit::Failed
        });
    stopped(&exit);
    Ok(exit)
}

async fn live(
    loaded: Loaded<Settings>,
    given: Given,
    filtering: Filtering,
    export: Export,
) -> Outcome {
    let Loaded { settings, entries } = loaded;
    let (reloaded, in_force) = (filtering.clone(), entries.clone());
    let mut signals = Signals::listen(move || reload(&given, &reloaded, &in_force))?;
    let metrics = Metrics::install()?;
    let lifecycle = Lifecycle::starting();
    let supervisor = Supervisor::new();
    let pulse = Pulse::default();
    let health = Health::new(&settings.frame.health, &lifecycle, &supervisor, &pulse);
    let mut parts = Parts::new(export);

    // The operator's listener comes first, so that a slow start can be watched.
    let mut sockets = Sockets::of_process(&["http", "operator"]);
    let socket = settings.frame.operator.socket(&mut sockets)?;
    let shown = Arc::new(operator::Shown {
        lifecycle: lifecycle.clone(),
        supervisor: supervisor.clone(),
        pulse: pulse.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        http: parts.http.subscribe(),
        database: parts.database.subscribe(),
        settings: entries,
        filtering: filtering.clone(),
        token: settings.frame.operator.token.clone().map(Token::new),
    });
    let routes = operator::routes(Arc::clone(&shown));
    let export = parts.export.clone().run(move || shown.metrics_page());
    let watched = Handle::current();
    let overrun = overrun(lifecycle.watch(), settings.frame.shutdown.grace);
    let beside = async move {
        _ = tokio::join!(pulse.watch(watched), overrun, filtering.keep_time(), export);
    };
    let operator = Operator::open(socket, routes, beside).await?;

    // Start. A signal ends it wherever it is.
    let starting = start(
        &settings,
        &mut sockets,
        &lifecycle,
        &supervisor,
        &health,
        &metrics,
        &mut parts,
    );
    let started = tokio::select! {
        started = starting => started.map_err(Cause::Failed),
        signal = signals.next() => Err(Cause::Signal(signal)),
        () = lifecycle.asked_to_stop() => Err(Cause::Operator),
    };

    // Run.
    let (cause, delay) = match started {
        Ok(()) => {
            lifecycle.ready();
            tracing::info!(message = message::READY);
            let cause = tokio::select! {
                signal = signals.next() => Cause::Signal(signal),
                name = supervisor.gave_up() => Cause::GaveUp(name),
                () = lifecycle.asked_to_stop() => Cause::Operator,
            };
            let in_a_hurry = matches!(cause, Cause::Signal(Signal::Quit));
            let delay = if in_a_hurry {
                Duration::ZERO
            } else {
                settings.frame.shutdown.delay
            };
            (cause, delay)
        }
        // Nobody was told to come here, so that nobody needs time to notice.
        Err(cause) => (cause, Duration::ZERO),
    };

    // Stop. Whoever insists does not wait for that.
    let left = tokio::select! {
        left = stop(&cause, delay, &settings.frame.shutdown, parts, &lifecycle, &supervisor) => left,
        signal = insistence(&mut signals, &cause) => {
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
    };
    // The probes answer to the very end.
    operator.shut().await;
    Ok(match cause {
        Cause::Signal(_) | Cause::Operator => Exit::after(left),
        Cause::GaveUp(_) | Cause::Failed(_) => Exit::Failed,
    })
}

/// What a start makes, as far as it gets, and a stop takes apart in reverse.
struct Parts {
    /// What others are told of all this.
    export: Export,
    cpu: Cpu,
    listener: Option<Listener>,
    /// The database and the listener are also for the operator to look at.
    database: watch::Sender<Option<Database>>,
    http: watch::Sender<Option<Watch>>,
}

impl Parts {
    fn new(export: Export) -> Self {
        Self {
            export,
            cpu: Cpu::of_machine(),
            listener: None,
            database: watch::Sender::new(None),
            http: watch::Sender::new(None),
        }
    }
}

async fn start(
    settings: &Settings,
    sockets: &mut Sockets,
    lifecycle: &Lifecycle,
    supervisor: &Supervisor,
    health: &Health,
    metrics: &Metrics,
    parts: &mut Parts,
) -> Result<(), Fault> {
    metrics.tended_by(supervisor)?;
    Database::may_start(&settings.frame.database)?;
    let database = Database::new(&settings.frame.database)?;
    parts.database.send_replace(Some(database.clone()));
    lifecycle.waits_for("the database");
    database.reach().await?;
    lifecycle.waits_for("its migrations");
    database.prepare().await?;
    database.tended_by(supervisor)?;
    let asked = database.clone();
    health.check("database", settings.frame.health.database, move || {
        let database = asked.clone();
        async move { database.ping().await }
    })?;

    let keys = Keys::new(&settings.frame.idempotency, database.clone());
    keys.tended_by(supervisor)?;

    let files = database.files();
    let frame = Frame {
        lifecycle: lifecycle.clone(),
        supervisor: supervisor.clone(),
        health: health.clone(),
        database,
        keys,
        cpu: parts.cpu.clone(),
    };
    lifecycle.waits_for("tasks");
    let routes = service::start(settings, &frame).await?;
    let routes = openapi::served(routes, settings.frame.http.documentation)?;
    let routes = edge::around(routes, &settings.frame.http, metrics.requests());

    let socket = sockets.take("http", settings.frame.http.listen)?;
    let mut limits = settings.frame.http.limits.clone();
    limits.max_connections = server::room_for(limits.max_connections, files);
    let listener = socket.serve(routes.merge(health.routes()), &limits)?;
    parts.http.send_replace(Some(listener.watch()));
    parts.listener = Some(listener);
    Ok(())
}

/// Stops in the order that loses nothing: requests, tasks, database and export. What does not end by its
/// deadline is left behind, and named.
async fn stop(
    cause: &Cause,
    delay: Duration,
    budget: &Shutdown,
    parts: Parts,
    lifecycle: &Lifecycle,
    supervisor: &Supervisor,
) -> Vec<String> {
    let mut left = Vec::new();
    let mut stop = lifecycle.stop();
    if let Some(listener) = &parts.listener {
        listener.announce_close();
    }
    cause.tell();

    if let Some(listener) = parts.listener {
        let watch = listener.watch();
        let busy = || watch.busy();
        stop.phase(Phase::Delay, delay, busy, sleep(delay)).await;
        let drain = listener.drain(budget.drain);
        let cut = stop.phase(Phase::Drain, budget.drain, busy, drain).await;
        left.extend(cut.map(|cut| cut.to_string()));
    }

    let cpu = &parts.cpu;
    let alive = || [supervisor.alive(), cpu.running()].concat();
    let tasks = async {
        let deadline = Instant::now() + budget.tasks;
        let mut left = supervisor.stop(budget.tasks).await;
        left.extend(cpu.stop(deadline).await);
        left
    };
    left.extend(stop.phase(Phase::Tasks, budget.tasks, alive, tasks).await);

    let database = parts.database.borrow().clone();
    let holders = || database.as_ref().map_or_else(Vec::new, Database::holders);
    // By now there is nobody left who makes any more traces.
    let close = async {
        let database = database.as_ref().map(|it| it.close(budget.close));
        tokio::join!(
            OptionFuture::from(database),
            parts.export.close(budget.close)
        )
        .0
    };
    let held = stop.phase(Phase::Close, budget.close, holders, close).await;
    left.extend(held.into_iter().flatten());

    stop.over();
    left
}

/// Why the service stops.
enum Cause {
    Signal(Signal),
    Operator,
    /// A critical task was given up.
    GaveUp(Arc<str>),
    /// The start did not succeed.
    Failed(Fault),
}

impl Cause {
    fn tell(&self) {
        telemetry::insist(|| match self {
            Self::Signal(signal) => tracing::info!(message = message::DRAINING, %signal),
            Self::Operator => tracing::info!(message = message::DRAINING, cause = "the operator"),
            Self::GaveUp(task) => tracing::error!(
                message = message::DRAINING,
                cause = "a critical task was given up",
                task = &**task
            ),
            Self::Failed(error) => failed(&**error),
        });
    }
}

/// Completes with a signal that does not want to wait. If the stop was begun by something else, the
/// first signal only asks for what is being done.
async fn insistence(signals: &mut Signals, cause: &Cause) -> Signal {
    if !matches!(cause, Cause::Signal(_)) {
        let signal = signals.next().await;
        tracing::info!(%signal, "stopping already");
    }
    signals.next().await
}

/// Ends the process if a stop has not come to its end by itself: when the runtime stalls, no
/// deadline of a phase is noticed. It runs elsewhere, and is a second ahead of whoever would kill
/// the process without a word.
async fn overrun(mut lifecycle: watch::Receiver<State>, grace: Duration) {
    let begun = lifecycle.wait_for(|state| matches!(state, State::Draining { .. }));
    if begun.await.is_err() {
        return;
    }
    sleep(grace.saturating_sub(Duration::from_secs(1))).await;
    let exit = Exit::after(["a stop that made no progress".to_owned()]);
    stopped(&exit);
    telemetry::flush();
    std::process::exit(exit.code().into())
}

/// Follows SIGHUP: takes over what is safe to change while the service runs, and names what is not.
fn reload(given: &Given, filtering: &Filtering, in_force: &[Entry]) {
    match commands::load(given) {
        Ok(loaded) => {
            let mut changed = settings::changed(in_force, &loaded.entries);
            changed.retain(|key| *key != "log.filter");
            if !changed.is_empty() {
                let settings = changed.join(", ");
                tracing::warn!(
                    settings,
                    "changed settings that only a restart puts in force"
                );
            }
            filtering.configure(&loaded.settings.frame.log.filter);
        }
        Err(problems) => tracing::error!(%problems, "the settings are wrong; nothing has changed"),
    }
}

/// Says why the start did not succeed: on stderr if the filter keeps it out of the log.
fn failed(error: &dyn Error) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(cause = %error, message = message::FAILED);
    } else {
        _ = writeln!(io::stderr(), "error: {error}");
    }
}

fn stopped(exit: &Exit) {
    telemetry::insist(|| {
        tracing::info!(
            message = message::STOPPED,
            outcome = %exit,
            exit_code = exit.code(),
            abandoned = exit.abandoned(),
        );
    });
}
