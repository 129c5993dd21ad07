//! The definition of a service, and its command line.
//!
//! ```ignore
//! fn main() -> ExitCode {
//!     match app::service().command() {
//!         Command::Serve(serve) => serve.run(app::serve),
//!         Command::Migrate(migrate) => migrate.run(app::databases),
//!         Command::Other(other) => other.run(),
//!     }
//! }
//! ```

mod commands;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

pub use commands::{Command, Migratable, Migrate, Other, Serve};

use crate::build_info::BuildInfo;
use crate::cli::{Arguments, Given};
use crate::sections::Settings;
use crate::settings::{self, Entry, Loaded, Problems, Reference, Section, Sources};
use crate::telemetry::Filter;

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

    /// Parses the command line. Exits with 2 if it is not valid, and with 0 after `--help` and `--version`.
    #[must_use]
    pub fn command(self) -> Command<S> {
        self.info.set_current();
        let (command, given) = Arguments::of_process(&self.info).into_parts();
        commands::dispatch(Arc::new(self), command, given)
    }

    fn load(&self, given: &Given) -> Result<Loaded<S>, Problems> {
        let sources = Sources::of_process(&given.files, &given.set);
        settings::load(&self.reference(), &sources)
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
    loaded: Loaded<S>,
}

/// Reads the settings again.
type Reload = Box<dyn Fn() -> Result<(Filter, Vec<Entry>), Problems> + Send + Sync>;

impl<S: Section + AsRef<Settings>> Launch<S> {
    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &S {
        &self.loaded.settings
    }

    /// Each setting in force, with its source.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.loaded.entries
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
