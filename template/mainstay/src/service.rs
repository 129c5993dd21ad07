//! The definition of a service, and the commands of its command line.
//!
//! ```ignore
//! fn main() -> ExitCode {
//!     app::service().run(app::serve, app::databases)
//! }
//! ```

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::cli::{self, Command, Config};
use crate::settings::{self, Loaded, Section, Sources, Table};
use crate::telemetry::{self, FilterHandle};
use crate::{BuildInfo, Error, Exit, Settings, build_info, health, panics};

/// A service: its name and version, its listeners, and its settings, which are read into `S`.
#[expect(missing_debug_implementations, reason = "the environment has secrets")]
pub struct Service<S> {
    info: BuildInfo,
    listeners: Vec<&'static str>,
    defaults: Vec<Cow<'static, str>>,
    sources: Sources,
    settings: PhantomData<fn() -> S>,
}

impl<S: Section + AsRef<Settings>> Service<S> {
    /// A service with the [settings of every service](crate::Settings). Pass [`build_info!()`](crate::build_info!).
    #[must_use]
    pub fn new(info: BuildInfo) -> Self {
        let defaults = [
            crate::sections::SETTINGS,
            #[cfg(feature = "otlp")]
            telemetry::otlp::SETTINGS,
        ];
        Self {
            info,
            listeners: Vec::new(),
            defaults: defaults.map(Cow::from).into(),
            sources: Sources::default(),
            settings: PhantomData,
        }
    }

    /// The names of the listeners, in the order of inherited sockets without names. The operator's listener is the last
    /// one, and is not named here.
    #[must_use]
    pub fn listeners(mut self, names: &[&'static str]) -> Self {
        self.listeners.extend_from_slice(names);
        self
    }

    /// Adds settings, as the text of a TOML file with their defaults, each below a comment that explains it. A
    /// later file may change the default of a setting in an earlier one.
    #[must_use]
    pub fn settings(mut self, defaults: impl Into<Cow<'static, str>>) -> Self {
        self.defaults.push(defaults.into());
        self
    }

    /// Runs the command that the command line names. `serve` runs the service, and returns its outcome, which is
    /// the last event of the log; `databases` are those that the command `migrate` migrates.
    #[must_use]
    pub fn run<F: Future<Output = Result<Exit, Error>>>(
        mut self,
        serve: impl FnOnce(Launch<S>) -> F,
        databases: impl FnOnce(&S) -> Result<Vec<Box<dyn Migratable>>, Error>,
    ) -> ExitCode {
        _ = build_info::CURRENT.set(self.info);
        let command;
        (command, self.sources) = cli::parse(&self.info);
        let execute = || match command {
            Command::Serve => self.serve(serve),
            Command::Migrate { check } => self.migrate(databases, check),
            Command::Config(Config::Check) => {
                self.load()?;
                print("the settings are valid\n")
            }
            Command::Config(Config::Print) => print(settings::print(&self.load()?.entries)),
            Command::Config(Config::Env) => print(self.defaults().to_environment()),
            Command::Config(Config::Default) => print(self.defaults().to_toml()),
            Command::Healthcheck { probe } => {
                let settings = self.load()?.settings;
                let passes = health::query_probe(settings.as_ref().operator.listen, &probe)?;
                let outcome = if passes { "passes" } else { "fails" };
                print(format_args!("{probe} {outcome}\n"))?;
                Ok(Exit::clean_if(passes))
            }
        };
        let executed = panics::attempt(execute).unwrap_or_else(|panic| Err(panic.into()));
        let exit = executed.unwrap_or_else(|error| {
            // Without stderr, there is no other place to report it.
            _ = writeln!(io::stderr(), "error: {}", error.to_string().trim_end());
            Exit::Failed
        });
        telemetry::flush();
        exit.code().into()
    }

    fn serve<F: Future<Output = Result<Exit, Error>>>(
        self,
        serve: impl FnOnce(Launch<S>) -> F,
    ) -> Result<Exit, Error> {
        let launch = Launch {
            loaded: self.load()?,
            service: self.into(),
        };
        block_on(async {
            let exit = serve(launch).await.or_else(|error| {
                // Without a log, `run` prints the error.
                if !telemetry::is_started() {
                    return Err(error);
                }
                telemetry::log_failure(&*error);
                Ok(Exit::Failed)
            })?;
            exit.log();
            Ok(exit)
        })
    }

    /// Applies the pending migrations of all databases, or counts them if `check`.
    fn migrate(
        &self,
        databases: impl FnOnce(&S) -> Result<Vec<Box<dyn Migratable>>, Error>,
        check: bool,
    ) -> Result<Exit, Error> {
        let settings = self.load()?.settings;
        let common: &Settings = settings.as_ref();
        common.log.start()?;
        let databases = databases(&settings)?;
        if databases.is_empty() {
            return print("this service has no database\n");
        }
        let count = block_on(async {
            let mut count = 0;
            for database in &databases {
                count += database.migrate(check, common.shutdown.close).await?;
            }
            Ok(count)
        })?;
        let done = if check { "pending" } else { "applied" };
        let plural = if count == 1 { "" } else { "s" };
        print(format_args!("{done}: {count} migration{plural}\n"))?;
        Ok(Exit::clean_if(!check || count == 0))
    }

    pub(crate) fn defaults(&self) -> Table {
        Table::new(&self.defaults)
    }

    fn load(&self) -> Result<Loaded<S>, String> {
        settings::load(self.defaults(), &self.sources)
    }
}

/// A service that starts: its settings, and the way to read them again.
#[expect(missing_debug_implementations, reason = "the environment has secrets")]
pub struct Launch<S> {
    service: Arc<Service<S>>,
    pub(crate) loaded: Loaded<S>,
}

impl<S: Section + AsRef<Settings>> Launch<S> {
    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &S {
        &self.loaded.settings
    }

    pub(crate) fn listeners(&self) -> Vec<&'static str> {
        [self.service.listeners.as_slice(), &["operator"]].concat()
    }

    /// Reads the settings again, applies those that are safe to change at runtime, and names the others.
    pub(crate) fn reload(&self, log_filter: FilterHandle) -> impl Fn() + Send + Sync + use<S>
    where
        S: 'static,
    {
        let service = Arc::clone(&self.service);
        let in_force = self.loaded.entries.clone();
        move || match service.load() {
            Ok(loaded) => {
                let mut changed = settings::changed(&in_force, &loaded.entries);
                changed.retain(|key| *key != "log.filter");
                if !changed.is_empty() {
                    let settings = changed.join(", ");
                    tracing::warn!(settings, "changed settings that need a restart");
                }
                log_filter.configure(&loaded.settings.as_ref().log.filter);
            }
            Err(problems) => tracing::error!(%problems, "invalid settings; nothing has changed"),
        }
    }
}

/// A database of the command `migrate`.
pub trait Migratable: Send + Sync {
    /// Connects, applies the pending migrations unless `check`, and returns their number. Closes the database in time.
    fn migrate(&self, check: bool, close: Duration) -> BoxFuture<'_, Result<usize, Error>>;
}

#[cfg(feature = "_database")]
impl<E: crate::database::Engine> Migratable for crate::database::Database<E> {
    fn migrate(&self, check: bool, close: Duration) -> BoxFuture<'_, Result<usize, Error>> {
        Box::pin(async move {
            if check && !self.exists() {
                return Err("there is no database yet: every migration is pending".into());
            }
            let migrated = async {
                self.connect_or_create().await?;
                let pending = self.pending().await?;
                if !check {
                    self.migrate().await?;
                }
                Ok(pending)
            }
            .await;
            self.close(tokio::time::Instant::now() + close).await;
            migrated
        })
    }
}

/// Prints to stdout, after the events of the log. A reader that has closed it, such as `head`, is no error.
fn print(answer: impl Display) -> Result<Exit, Error> {
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
