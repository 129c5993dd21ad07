//! The definition of a service, and the commands of its command line.
//!
//! ```ignore
//! fn main() -> ExitCode {
//!     app::service().run(app::serve, app::databases)
//! }
//! ```

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::Error;
use crate::build_info::BuildInfo;
use crate::cli::{self, Command, Given};
use crate::health;
use crate::lifecycle::Exit;
use crate::sections::Settings;
use crate::settings::{self, Entry, Loaded, Problems, Reference, Section, Sources};
use crate::telemetry::{self, Filter};

/// A service: its name and version, its listeners, and its settings, which are read into `S`.
pub struct Service<S> {
    info: BuildInfo,
    listeners: Vec<&'static str>,
    references: Vec<Cow<'static, str>>,
    settings: PhantomData<fn() -> S>,
}

impl<S: Section + AsRef<Settings>> Service<S> {
    /// A service with the [settings of every service](crate::Settings). Pass
    /// [`build_info!()`](crate::build_info!).
    #[must_use]
    pub fn new(info: BuildInfo) -> Self {
        let service = Self {
            info,
            listeners: Vec::new(),
            references: Vec::new(),
            settings: PhantomData,
        };
        let service = service.settings(crate::sections::SETTINGS);
        #[cfg(feature = "otlp")]
        let service = service.settings(crate::telemetry::otlp::SETTINGS);
        service
    }

    /// Declares the names of the listeners, in the order of inherited sockets without names. The operator's
    /// listener is the last one, and is not named here.
    #[must_use]
    pub fn listeners(mut self, names: &[&'static str]) -> Self {
        self.listeners.extend_from_slice(names);
        self
    }

    /// Adds settings, as the text of a TOML file with their defaults, each below a comment that explains it. A
    /// later file may change the default of a setting in an earlier one.
    #[must_use]
    pub fn settings(mut self, reference: impl Into<Cow<'static, str>>) -> Self {
        self.references.push(reference.into());
        self
    }

    /// Every setting, with its default and its comment.
    pub(crate) fn reference(&self) -> Reference {
        Reference::new(&self.references)
    }

    fn load(&self, given: &Given) -> Result<Loaded<S>, Problems> {
        let sources = Sources::of_process(&given.files, &given.set);
        settings::load(&self.reference(), &sources)
    }

    /// Runs the command that the command line names. `serve` runs the service, and returns its outcome, which is
    /// the last event of the log; `databases` are those that the command `migrate` migrates.
    ///
    /// A command line that is not valid ends the process with 2, `--help` and `--version` end it with 0.
    #[must_use]
    pub fn run<F: Future<Output = Result<Exit, Error>>>(
        self,
        serve: impl FnOnce(Launch<S>) -> F,
        databases: impl FnOnce(&S) -> Result<Vec<Box<dyn Migratable>>, Error>,
    ) -> ExitCode {
        self.info.set_current();
        let (command, given) = cli::parse(&self.info);
        let _flush = FlushOnDrop;
        let work = || match command {
            Command::Serve => self.serve(given, serve),
            Command::Migrate { check } => self.migrate(&given, databases, check),
            Command::ConfigCheck => {
                self.load(&given)?;
                print("the settings are valid\n")
            }
            Command::ConfigPrint => print(settings::print(&self.load(&given)?.entries)),
            Command::ConfigEnv => print(self.reference().to_environment()),
            Command::ConfigDefault => print(self.reference().to_toml()),
            Command::Healthcheck(probe) => {
                let settings = self.load(&given)?.settings;
                let passes = health::ask(settings.as_ref().operator.listen, &probe)?;
                let state = match probe.as_str() {
                    "livez" => "alive",
                    "readyz" => "ready",
                    _ => "started",
                };
                let not = if passes { "" } else { "not " };
                print(format_args!("{not}{state}\n"))?;
                Ok(if passes { Exit::Clean } else { Exit::Failed })
            }
        };
        let exit = work().unwrap_or_else(|error| {
            // Without stderr, there is no other place to report it.
            _ = writeln!(io::stderr(), "error: {}", error.to_string().trim_end());
            Exit::Failed
        });
        exit.into()
    }

    fn serve<F: Future<Output = Result<Exit, Error>>>(
        self,
        given: Given,
        serve: impl FnOnce(Launch<S>) -> F,
    ) -> Result<Exit, Error> {
        let loaded = self.load(&given)?;
        let launch = Launch {
            service: Arc::new(self),
            given,
            loaded,
        };
        block_on(async {
            let exit = match serve(launch).await {
                Ok(exit) => exit,
                // Without a log, the error goes to stderr.
                Err(error) if !telemetry::is_started() => return Err(error),
                Err(error) => {
                    telemetry::log_failure(&*error);
                    Exit::Failed
                }
            };
            exit.log();
            Ok(exit)
        })
    }

    fn migrate(
        &self,
        given: &Given,
        databases: impl FnOnce(&S) -> Result<Vec<Box<dyn Migratable>>, Error>,
        check: bool,
    ) -> Result<Exit, Error> {
        let settings = self.load(given)?.settings;
        let common: &Settings = settings.as_ref();
        common.log.start()?;
        let databases = databases(&settings)?;
        if databases.is_empty() {
            return print("this service has no database\n");
        }
        if check && databases.iter().any(|database| !database.exists()) {
            print("there is no database yet: every migration is pending\n")?;
            return Ok(Exit::Failed);
        }
        let count = block_on(async {
            let migrate_all = async {
                let mut count = 0;
                for database in &databases {
                    count += database.migrate(check).await?;
                }
                Ok(count)
            };
            let migrated = migrate_all.await;
            let deadline = Instant::now() + common.shutdown.close;
            for database in &databases {
                database.close(deadline).await;
            }
            migrated
        })?;
        let done = if check { "pending" } else { "applied" };
        let plural = if count == 1 { "" } else { "s" };
        print(format_args!("{done}: {count} migration{plural}\n"))?;
        Ok(if check && count > 0 {
            Exit::Failed
        } else {
            Exit::Clean
        })
    }
}

impl<S> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("info", &self.info)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// A service that starts: its settings, and the way to read them again.
#[derive(Debug)]
pub struct Launch<S> {
    service: Arc<Service<S>>,
    given: Given,
    pub(crate) loaded: Loaded<S>,
}

/// Reads the settings again.
type Reload = Box<dyn Fn() -> Result<(Filter, Vec<Entry>), Problems> + Send + Sync>;

impl<S: Section + AsRef<Settings>> Launch<S> {
    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &S {
        &self.loaded.settings
    }

    pub(crate) fn listeners(&self) -> Vec<&'static str> {
        let names = self.service.listeners.iter().copied();
        names.chain(["operator"]).collect()
    }

    pub(crate) fn reload(&self) -> Reload
    where
        S: 'static,
    {
        let (service, given) = (Arc::clone(&self.service), self.given.clone());
        Box::new(move || {
            let loaded = service.load(&given)?;
            let filter = loaded.settings.as_ref().log.filter.clone();
            Ok((filter, loaded.entries))
        })
    }
}

/// A database that the command `migrate` can migrate.
pub trait Migratable: Send + Sync {
    /// Whether the database exists, as far as that is known without a connection.
    fn exists(&self) -> bool;

    /// Connects, applies the pending migrations unless `check`, and returns their number.
    fn migrate(&self, check: bool) -> BoxFuture<'_, Result<usize, Error>>;

    /// Closes its connections by the deadline.
    fn close(&self, deadline: Instant) -> BoxFuture<'_, ()>;
}

#[cfg(feature = "_database")]
impl<E: crate::database::Engine> Migratable for crate::database::Database<E> {
    fn exists(&self) -> bool {
        self.exists()
    }

    fn migrate(&self, check: bool) -> BoxFuture<'_, Result<usize, Error>> {
        Box::pin(async move {
            self.connect_or_create().await?;
            let pending = self.pending().await?;
            if !check {
                self.migrate().await?;
            }
            Ok(pending)
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.close(deadline).await;
        })
    }
}

/// Flushes the log, also after a panic.
struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        telemetry::flush();
    }
}

/// Prints to stdout, after the events of the log. A reader that has closed it, such as `head`, is no error.
fn print(answer: impl fmt::Display) -> Result<Exit, Error> {
    telemetry::flush();
    match write!(io::stdout(), "{answer}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(Exit::Clean),
    }
}

/// Runs on a thread for each core. Blocking work that hangs does not keep the process alive.
#[expect(clippy::disallowed_methods, reason = "this is where async code begins")]
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}
