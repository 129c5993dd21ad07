//! The commands of the command line.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Launch, Service};
use crate::Error;
use crate::cli::{self, ConfigCommand, Given};
use crate::health::{self, Probe};
use crate::lifecycle::Exit;
use crate::sections::Settings;
use crate::settings::{self, Section};
use crate::telemetry;

/// The command that the command line names.
#[derive(Debug)]
pub enum Command<S> {
    /// `serve`, the default: runs the service.
    Serve(Serve<S>),
    /// `migrate`: applies the migrations of its databases.
    Migrate(Migrate<S>),
    /// `config …` and `healthcheck`, which need only the settings of the service.
    Other(Other<S>),
}

/// The command `serve`.
#[derive(Debug)]
pub struct Serve<S> {
    service: Arc<Service<S>>,
    given: Given,
}

/// The command `migrate`.
#[derive(Debug)]
pub struct Migrate<S> {
    service: Arc<Service<S>>,
    given: Given,
    check: bool,
}

/// The commands `config` and `healthcheck`.
#[derive(Debug)]
pub struct Other<S> {
    service: Arc<Service<S>>,
    given: Given,
    what: What,
}

#[derive(Debug)]
enum What {
    Config(ConfigCommand),
    Healthcheck(Probe),
}

type Outcome = Result<Exit, Error>;

pub(super) fn dispatch<S>(
    service: Arc<Service<S>>,
    command: cli::Command,
    given: Given,
) -> Command<S> {
    let other = |service, given, what| {
        Command::Other(Other {
            service,
            given,
            what,
        })
    };
    match command {
        cli::Command::Serve(_) => Command::Serve(Serve { service, given }),
        cli::Command::Migrate { check, .. } => Command::Migrate(Migrate {
            service,
            given,
            check,
        }),
        cli::Command::Config { command, .. } => other(service, given, What::Config(command)),
        cli::Command::Healthcheck { probe, .. } => other(service, given, What::Healthcheck(probe)),
    }
}

impl<S: Section + AsRef<Settings>> Serve<S> {
    /// Runs `serve` on a runtime with a thread for each core. The last event of the log is its outcome.
    #[must_use]
    pub fn run<F: Future<Output = Result<Exit, Error>>>(
        self,
        serve: impl FnOnce(Launch<S>) -> F,
    ) -> ExitCode {
        let Self { service, given } = self;
        exit_code(|| {
            let loaded = service.load(&given)?;
            let launch = Launch {
                service,
                given,
                loaded,
            };
            block_on(async {
                let exit = match serve(launch).await {
                    Ok(exit) => exit,
                    // Without a log, there is stderr.
                    Err(error) if !telemetry::is_started() => return Err(error),
                    Err(error) => {
                        telemetry::log_failure(&*error);
                        Exit::Failed
                    }
                };
                exit.log();
                Ok(exit)
            })
        })
    }
}

/// A database that the command `migrate` can migrate.
pub trait Migratable: Send + Sync {
    /// Whether the database exists, as far as that is known without a connection.
    fn exists(&self) -> bool;

    /// Connects, and returns how many migrations are pending.
    fn pending(&self) -> BoxFuture<'_, Result<usize, Error>>;

    /// Applies the pending migrations.
    fn migrate(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Closes its connections by the deadline.
    fn close(&self, deadline: Instant) -> BoxFuture<'_, ()>;
}

#[cfg(feature = "_database")]
impl<E: crate::database::Engine> Migratable for crate::database::Database<E> {
    fn exists(&self) -> bool {
        self.exists()
    }

    fn pending(&self) -> BoxFuture<'_, Result<usize, Error>> {
        Box::pin(async {
            self.connect_or_create().await?;
            Ok(self.pending().await?)
        })
    }

    fn migrate(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(self.migrate().await?) })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.close(deadline).await;
        })
    }
}

impl<S: Section + AsRef<Settings>> Migrate<S> {
    /// Migrates these databases, or reports with `--check` whether migrations are pending.
    #[must_use]
    pub fn run(
        self,
        databases: impl FnOnce(&S) -> Result<Vec<Box<dyn Migratable>>, Error>,
    ) -> ExitCode {
        exit_code(|| {
            let settings = self.service.load(&self.given)?.settings;
            let common: &Settings = settings.as_ref();
            common.log.start()?;
            let close = common.shutdown.close;
            let databases = databases(&settings)?;
            block_on(async {
                let migrated = migrate_all(&databases, self.check).await;
                let deadline = Instant::now() + close;
                for database in &databases {
                    database.close(deadline).await;
                }
                migrated
            })
        })
    }
}

async fn migrate_all(databases: &[Box<dyn Migratable>], check: bool) -> Outcome {
    if databases.is_empty() {
        return print("this service has no database\n");
    }
    if check && databases.iter().any(|database| !database.exists()) {
        print("there is no database yet: every migration is pending\n")?;
        return Ok(Exit::Failed);
    }
    let mut pending = 0;
    for database in databases {
        pending += database.pending().await?;
        if !check {
            database.migrate().await?;
        }
    }
    let done = if check { "pending" } else { "applied" };
    print(format!("{done}: {}\n", counted(pending)))?;
    Ok(if check && pending > 0 {
        Exit::Failed
    } else {
        Exit::Clean
    })
}

/// So many migrations, in words.
fn counted(migrations: usize) -> String {
    let ending = if migrations == 1 { "" } else { "s" };
    format!("{migrations} migration{ending}")
}

impl<S: Section + AsRef<Settings>> Other<S> {
    /// Runs the command.
    #[must_use]
    pub fn run(self) -> ExitCode {
        exit_code(|| match &self.what {
            What::Config(ConfigCommand::Env(_)) => {
                print(settings::environment_file(&self.service.reference()))
            }
            What::Config(ConfigCommand::Default(_)) => print(self.service.reference().to_toml()),
            What::Config(ConfigCommand::Print(_)) => {
                print(settings::print(&self.service.load(&self.given)?.entries))
            }
            What::Config(ConfigCommand::Check(_)) => {
                self.service.load(&self.given)?;
                print("the settings are right\n")
            }
            What::Healthcheck(probe) => {
                let settings = self.service.load(&self.given)?.settings;
                let passes = health::ask(settings.as_ref().operator.listen, *probe)?;
                let not = if passes { "" } else { "not " };
                print(format!("{not}{}\n", probe.passed()))?;
                Ok(if passes { Exit::Clean } else { Exit::Failed })
            }
        })
    }
}

/// The exit code of the command. An error goes to stderr, after the log is flushed.
fn exit_code(work: impl FnOnce() -> Outcome) -> ExitCode {
    let _flushed = Flushed;
    let exit = work().unwrap_or_else(|error| {
        let words = error.to_string();
        // Without stderr, there is no other place to report it.
        _ = writeln!(io::stderr(), "error: {}", words.trim_end());
        Exit::Failed
    });
    exit.into()
}

/// Flushes the log when it is dropped, also after a panic.
struct Flushed;

impl Drop for Flushed {
    fn drop(&mut self) {
        telemetry::flush();
    }
}

/// Prints to stdout, after the events of the log. A reader that has closed it, such as `head`, is no error.
fn print(answer: impl fmt::Display) -> Outcome {
    telemetry::flush();
    match write!(io::stdout(), "{answer}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(Exit::Clean),
    }
}

/// Runs on a thread for each core. Blocking work that hangs does not keep the process alive.
#[expect(clippy::disallowed_methods, reason = "this is where async code begins")]
fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}
