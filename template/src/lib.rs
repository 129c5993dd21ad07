//! The composition root: what the process is made of, from its start to its stop.
//!
//! Read `serve` from top to bottom; the rest of the file is how the commands get there.

pub mod frame;
pub mod service;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use frame::cli::{Arguments, Command, ConfigCommand, Given};
use frame::database::Database;
use frame::health::{self, Health};
use frame::lifecycle::{Exit, Lifecycle, Shutdown, Signals, State};
use frame::server::{self, Listener};
use frame::settings::{self, Loaded, Reference, Sources};
use frame::supervisor::Supervisor;
use frame::telemetry::message;
use frame::{edge, operator};
use service::Settings;

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let (command, given) = Arguments::of_process().into_parts();
    let exit = perform(&command, &given).unwrap_or_else(|error| {
        let words = error.to_string();
        // There may be nobody to tell.
        _ = writeln!(io::stderr(), "error: {}", words.trim_end());
        Exit::Failed
    });
    exit.into()
}

fn perform(command: &Command, given: &Given) -> Outcome {
    let reference = reference();
    if let Command::Config {
        command: ConfigCommand::Env(_),
        ..
    } = command
    {
        return say(&settings::environment_file(&reference));
    }
    let sources = Sources::of_process(&given.files, &given.set);
    let loaded = settings::load::<Settings>(&reference, &sources)?;
    match command {
        Command::Serve(_) => run(serve(loaded)),
        Command::Migrate { check, .. } => run(migrate(&loaded.settings, *check)),
        Command::Healthcheck(_) => {
            let ready = health::ask(loaded.settings.operator.listen)?;
            say(if ready { "ready\n" } else { "not ready\n" })?;
            Ok(if ready { Exit::Clean } else { Exit::Failed })
        }
        Command::Config {
            command: ConfigCommand::Print(_),
            ..
        } => say(&settings::print(&loaded.entries)),
        Command::Config { .. } => say("the settings are right\n"),
    }
}

/// Every setting there is, with its default and its meaning.
fn reference() -> Reference {
    let text = include_str!("../config/default.toml");
    // Compiled in, so that the binary needs no file beside it.{% comment %}
    #[cfg(feature = "postgres")]
    let text = &text.replace(
        "sqlite:data/service.db",
        "postgres://postgres@localhost/beacon",
    );
    // {% endcomment %}
    Reference::new(text)
}

/// Puts an answer on stdout. A reader that has gone, as `head` does, has what it wanted.
fn say(answer: &str) -> Outcome {
    match io::stdout().write_all(answer.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(Exit::Clean),
    }
}

type Outcome = Result<Exit, Box<dyn Error + Send + Sync>>;

/// The life of the service. Its last event says how it ended.
async fn serve(loaded: Loaded<Settings>) -> Outcome {
    loaded.settings.log.start()?;
    let exit = live(loaded).await.unwrap_or_else(|error| {
        failed(&*error);
        Exit::Failed
    });
    tracing::info!(
        message = message::STOPPED,
        outcome = %exit,
        exit_code = exit.code(),
        abandoned = exit.abandoned(),
    );
    Ok(exit)
}

/// Says why the start did not succeed: on stderr if the filter keeps it out of the log.
fn failed(error: &dyn Error) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(cause = %error, message = message::FAILED);
    } else {
        _ = writeln!(io::stderr(), "error: {error}");
    }
}

/// Why the service stops.
enum Cause {
    Signal(&'static str),
    /// A critical task was given up.
    GaveUp(Arc<str>),
    /// The start did not succeed.
    Failed(Box<dyn Error + Send + Sync>),
}

async fn live(loaded: Loaded<Settings>) -> Outcome {
    let Loaded { settings, entries } = loaded;
    let mut signals = Signals::listen()?;
    let lifecycle = Lifecycle::starting();
    let supervisor = Supervisor::new();
    let health = Health::new(&settings.health, lifecycle.clone(), supervisor.clone());

    // The operator's listener comes first, so that a slow start can be watched.
    let socket = server::bind("operator", settings.operator.listen).await?;
    let shown = operator::Shown {
        lifecycle: lifecycle.clone(),
        supervisor: supervisor.clone(),
        settings: entries,
    };
    let operator = socket.serve(operator::routes(&settings.operator, shown, &health));

    // Start. A signal ends it wherever it is.
    let mut parts = Parts::default();
    let started = tokio::select! {
        started = start(&settings, &health, &mut parts) => started.map_err(Cause::Failed),
        (_, signal) = signals.next() => Err(Cause::Signal(signal)),
    };

    // Run.
    let (cause, delay) = match started {
        Ok(()) => {
            lifecycle.enter(State::Ready);
            tracing::info!(message = message::READY);
            let cause = tokio::select! {
                (_, signal) = signals.next() => Cause::Signal(signal),
                name = supervisor.gave_up() => Cause::GaveUp(name),
            };
            (cause, settings.shutdown.delay)
        }
        // Nobody was told to come here, so that nobody needs time to notice.
        Err(cause) => (cause, Duration::ZERO),
    };

    // Stop. A second signal does not wait for that.
    lifecycle.enter(State::Draining);
    match &cause {
        Cause::Signal(signal) => tracing::info!(message = message::DRAINING, signal),
        Cause::GaveUp(task) => {
            tracing::error!(
                message = message::DRAINING,
                cause = "a critical task was given up",
                task = &**task
            );
        }
        Cause::Failed(error) => failed(&**error),
    }
    let left = tokio::select! {
        left = stop(delay, &settings.shutdown, parts, &supervisor, operator) => left,
        (number, _) = signals.next() => std::process::exit(128 + number),
    };
    lifecycle.enter(State::Stopped);
    Ok(match cause {
        Cause::Signal(_) => Exit::after(left),
        Cause::GaveUp(_) | Cause::Failed(_) => Exit::Failed,
    })
}

/// What a start makes, as far as it gets, and a stop takes apart in reverse.
#[derive(Default)]
struct Parts {
    database: Option<Database>,
    listener: Option<Listener>,
}

async fn start(
    settings: &Settings,
    health: &Health,
    parts: &mut Parts,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let database = Database::open(&settings.database).await?;
    parts.database = Some(database.clone());
    database.prepare(settings.database.migrate_on_start).await?;

    health.watch(&database)?;

    let socket = server::bind("http", settings.http.listen).await?;
    let routes = edge::around(service::routes(settings, &database), &settings.http);
    parts.listener = Some(socket.serve(routes.merge(health.routes())));
    Ok(())
}

/// Stops in the order that loses nothing: requests, tasks, database. What does not end by its
/// deadline is left behind, and named.
async fn stop(
    delay: Duration,
    budget: &Shutdown,
    parts: Parts,
    supervisor: &Supervisor,
    operator: Listener,
) -> Vec<String> {
    let mut left = Vec::new();
    tokio::time::sleep(delay).await;
    if let Some(listener) = parts.listener {
        left.extend(listener.drain(budget.drain).await);
    }
    left.extend(supervisor.stop(budget.tasks).await);
    if let Some(database) = parts.database {
        left.extend(database.close(budget.close).await);
    }
    // The probes answer to the very end; there is nothing in flight here worth waiting for.
    drop(operator);
    left
}

/// `migrate`: brings the database up to date, or says whether it is.
async fn migrate(settings: &Settings, check: bool) -> Outcome {
    settings.log.start()?;
    if check && !Database::exists(&settings.database)? {
        say("there is no database yet: every migration is pending\n")?;
        return Ok(Exit::Failed);
    }
    let database = Database::open(&settings.database).await?;
    let pending = database.pending().await?;
    let migrations = if pending == 1 {
        "migration"
    } else {
        "migrations"
    };
    if check {
        say(&format!("pending: {pending} {migrations}\n"))?;
    } else {
        database.migrate().await?;
        say(&format!("applied: {pending} {migrations}\n"))?;
    }
    database.close(settings.shutdown.close).await;
    Ok(if check && pending > 0 {
        Exit::Failed
    } else {
        Exit::Clean
    })
}

/// Runs on all cores. Blocking work that hangs does not keep the process alive.
fn run(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_every_setting_and_no_other() {
        let reference = reference();
        let loaded = settings::load::<Settings>(&reference, &Sources::default())
            .unwrap_or_else(|problems| panic!("{problems}"));
        let mut read: Vec<_> = loaded
            .entries
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        let mut described: Vec<_> = reference.keys().collect();
        read.sort_unstable();
        described.sort_unstable();
        assert_eq!(
            described, read,
            "config/default.toml against what the program reads"
        );
    }

    #[test]
    fn the_reference_tells_what_each_setting_means() {
        let reference = reference();
        let silent: Vec<_> = reference
            .keys()
            .filter(|key| reference.meaning(key).is_empty())
            .collect();
        assert!(
            silent.is_empty(),
            "no comment above {silent:?} in config/default.toml"
        );
    }
}
