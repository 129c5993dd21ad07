//! How a test starts the real binary.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use tempfile::TempDir;

use super::running::{Output, Owned, Running};
#[cfg(feature = "_database")]
use super::{Scratch, TestEngine};

/// The settings of a started service, unless the test sets others.
const DEFAULTS: [(&str, &str); 3] = [
    ("http.listen", "127.0.0.1:0"),
    ("operator.listen", "127.0.0.1:0"),
    ("log.format", "json"),
];

/// The binary of a service, with the settings, the environment and the files that a test gives it.
///
/// ```ignore
/// let binary = Binary::new(env!("CARGO_BIN_EXE_lookout")).database::<sqlx::Sqlite>();
/// let service = binary.set("shutdown.delay", "5s").start();
/// assert_eq!(get(service.http(), "/readyz").status, 200);
/// ```
///
/// Its environment is `PATH`, `HOME` and the variables of the test. Each process has a working directory and a
/// database of its own, and listens on free ports, so that tests can run at once.
#[derive(Debug, Clone)]
#[must_use = "a binary does nothing until it is started"]
pub struct Binary {
    path: PathBuf,
    arguments: Vec<OsString>,
    settings: BTreeMap<String, String>,
    environment: BTreeMap<OsString, OsString>,
    files: BTreeMap<PathBuf, String>,
    /// Makes a database, and returns its URL.
    database: Option<fn() -> (String, Owned)>,
}

impl Binary {
    /// The binary at this path, which cargo gives to an integration test:
    /// `env!("CARGO_BIN_EXE_name")`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            settings: BTreeMap::new(),
            environment: BTreeMap::new(),
            files: BTreeMap::new(),
            database: None,
        }
    }

    /// Adds an argument, such as the name of a command.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds `--set key=value`. The last value of a key wins.
    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        self.settings.insert(key.to_owned(), value.to_string());
        self
    }

    /// Adds a variable to the environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Writes a file before the start. The path is relative to the working directory.
    pub fn file(mut self, path: impl Into<PathBuf>, content: impl Into<String>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    /// Gives each process an empty database of its own, by the setting `database.url`. A test that
    /// starts two processes on one database keeps a [`Scratch`] and sets `database.url` itself.
    #[cfg(feature = "_database")]
    pub fn database<E: TestEngine + 'static>(mut self) -> Self {
        self.database = Some(|| {
            let scratch = Scratch::<E>::new();
            (scratch.url().to_owned(), Box::new(scratch))
        });
        self
    }

    /// Starts the service and waits until it is ready.
    #[track_caller]
    pub fn start(&self) -> Running {
        let running = self.spawn();
        running.ready();
        running
    }

    /// Starts the service without waiting for anything.
    #[track_caller]
    pub fn spawn(&self) -> Running {
        let mut service = self.clone();
        for (key, value) in DEFAULTS {
            let setting = service.settings.entry(key.to_owned());
            setting.or_insert_with(|| value.to_owned());
        }
        service.run()
    }

    /// Runs a command that ends by itself, such as `config check`, with the given settings and no
    /// others.
    #[track_caller]
    pub fn output(&self) -> Output {
        self.run().output()
    }

    #[track_caller]
    fn run(&self) -> Running {
        let directory = TempDir::new().expect("a directory for the process");
        for (path, content) in &self.files {
            let path = directory.path().join(path);
            let parent = path.parent().unwrap_or(&path);
            fs::create_dir_all(parent).expect("a directory for the file");
            fs::write(path, content).expect("a file for the process");
        }
        let mut command = Command::new(&self.path);
        command.current_dir(directory.path()).env_clear();
        for name in ["PATH", "HOME"] {
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        let database = self.database.map(|make| {
            let (url, database) = make();
            command.env("APP__DATABASE__URL", url);
            database
        });
        command.envs(&self.environment).args(&self.arguments);
        for (key, value) in &self.settings {
            command.args(["--set", &format!("{key}={value}")]);
        }
        Running::spawn(command, directory, database)
    }
}
