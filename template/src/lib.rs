//! The composition root: what the process is made of, from its start to its stop.
//!
//! Read `serve` from top to bottom; the rest of the file is how the commands get there.

pub mod frame;
pub mod service;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use frame::cli::{Arguments, Command, ConfigCommand};
use frame::database::Database;
use frame::health::{self, Health};
use frame::lifecycle::{Exit, Lifecycle, Shutdown, Signals, State};
use frame::server::{self, Listener};
use frame::settings::{self, Loaded, Reference, Sources};
use frame::telemetry::message;
use frame::{edge, operator};
use service::Settings;

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::of_process();
    let reference = reference();
    let command = arguments.command();
    if let Command::Config(ConfigCommand::Env) = command {
        print!("{}", settings::environment_file(&reference));
        return ExitCode::SUCCESS;
    }
    let sources = Sources::of_process(&arguments.files, &arguments.set);
    let loaded = match settings::load::<Settings>(&reference, &sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprint!("error: {problems}");
            return Exit::Failed.into();
        }
    };
    let done = match command {
        Command::Serve => run(serve(loaded)),
        Command::Migrate { check } => run(migrate(&loaded.settings, check)),
        Command::Healthcheck => health::ask(loaded.settings.operator.listen).map_err(Into::into),
        Command::Config(ConfigCommand::Print) => {
            print!("{}", settings::print(&loaded.entries));
            Ok(Exit::Clean)
        }
        Command::Config(ConfigCommand::Check | ConfigCommand::Env) => Ok(Exit::Clean),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })
    .into()
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

type Outcome = Result<Exit, Box<dyn Error + Send + Sync>>;

/// The life of the service. Its last event says how it ended.
async fn serve(loaded: Loaded<Settings>) -> Outcome {
    loaded.settings.log.start()?;
    let exit = live(loaded).await.unwrap_or_else(|error| {
        tracing::error!(cause = %error, "failed");
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

async fn live(loaded: Loaded<Settings>) -> Outcome {
    let Loaded { settings, entries } = loaded;
    let mut signals = Signals::listen()?;
    let lifecycle = Lifecycle::starting();
    let health = Health::new(&settings.health, lifecycle.clone());

    // Start. The operator's listener comes first, so that a slow start can be watched; a signal
    // ends the start wherever it is.
    let routes = operator::routes(&settings.operator, &lifecycle, &health, entries);
    let operator = server::bind("operator", settings.operator.listen)
        .await?
        .serve(routes);
    let parts = tokio::select! {
        started = start(&settings, &health) => started?,
        (_, signal) = signals.next() => {
            tracing::info!(message = message::DRAINING, signal);
            return Ok(Exit::Clean);
        }
    };

    // Run.
    lifecycle.enter(State::Ready);
    tracing::info!(message = message::READY);
    let (_, signal) = signals.next().await;

    // Stop. A second signal does not wait for that.
    lifecycle.enter(State::Draining);
    tracing::info!(message = message::DRAINING, signal);
    tokio::select! {
        exit = stop(&settings.shutdown, parts, operator) => {
            lifecycle.enter(State::Stopped);
            Ok(exit)
        }
        (number, _) = signals.next() => std::process::exit(128 + number),
    }
}

/// What a start makes, and a stop takes apart in reverse.
struct Parts {
    database: Database,
    tasks: TaskTracker,
    stop_tasks: CancellationToken,
    listener: Listener,
}

async fn start(
    settings: &Settings,
    health: &Health,
) -> Result<Parts, Box<dyn Error + Send + Sync>> {
    let database = Database::open(&settings.database).await?;
    database.prepare(settings.database.migrate_on_start).await?;

    let tasks = TaskTracker::new();
    let stop_tasks = CancellationToken::new();
    tasks.spawn(
        stop_tasks
            .clone()
            .run_until_cancelled_owned(health.clone().watch(database.clone())),
    );

    let socket = server::bind("http", settings.http.listen).await?;
    let routes = edge::around(service::routes(settings, &database), &settings.http);
    let listener = socket.serve(routes.merge(health.routes()));
    Ok(Parts {
        database,
        tasks,
        stop_tasks,
        listener,
    })
}

/// Stops in the order that loses nothing: requests, tasks, database. What does not end by its
/// deadline is left behind, and named.
async fn stop(budget: &Shutdown, parts: Parts, operator: Listener) -> Exit {
    let Parts {
        database,
        tasks,
        stop_tasks,
        listener,
    } = parts;
    tokio::time::sleep(budget.delay).await;
    let requests = listener.drain(budget.drain).await;

    stop_tasks.cancel();
    tasks.close();
    let ended = tokio::time::timeout(budget.tasks, tasks.wait()).await;
    let unfinished = ended
        .is_err()
        .then(|| format!("{} background tasks", tasks.len()));

    let connections = database.close(budget.close).await;
    // The probes answer to the very end; there is nothing in flight here worth waiting for.
    drop(operator);
    Exit::after(requests.into_iter().chain(unfinished).chain(connections))
}

/// `migrate`: brings the database up to date, or says whether it is.
async fn migrate(settings: &Settings, check: bool) -> Outcome {
    settings.log.start()?;
    let database = Database::open(&settings.database).await?;
    let pending = database.pending().await?;
    if check {
        println!("{pending} migrations are pending");
    } else {
        database.migrate().await?;
        println!("applied {pending} migrations");
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
