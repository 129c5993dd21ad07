//! Starts processes: builds the command line, the environment and the working directory.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt::Display,
    fs, io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use tempfile::TempDir;

use super::{
    Service,
    process::{self, Process},
};
use crate::log::Log;

/// Long enough for the slowest machine. Only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The default settings of a start.
const DEFAULTS: [(&str, &str); 3] = [
    ("http.listen", "127.0.0.1:0"),
    ("operator.listen", "127.0.0.1:0"),
    ("log.format", "json"),
];

/// How to start a service. It can be cloned and started repeatedly.
#[derive(Clone, Debug)]
#[must_use = "a launch does nothing until it is started or run"]
pub struct Launch {
    binary: PathBuf,
    /// The program that starts the binary, with its own arguments.
    wrapper: Option<(OsString, Vec<OsString>)>,
    arguments: Vec<OsString>,
    /// Values by key. `None` removes a default.
    settings: BTreeMap<String, Option<String>>,
    environment: BTreeMap<OsString, OsString>,
    files: BTreeMap<PathBuf, String>,
    descriptors: Vec<Arc<OwnedFd>>,
    directory: Option<PathBuf>,
    timeout: Duration,
}

/// The result of a command that ends by itself.
#[derive(Clone, Debug)]
pub struct Output {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Launch {
    pub(super) fn new(binary: PathBuf) -> Launch {
        Launch {
            binary,
            wrapper: None,
            arguments: Vec::new(),
            settings: BTreeMap::new(),
            environment: BTreeMap::new(),
            files: BTreeMap::new(),
            descriptors: Vec::new(),
            directory: None,
            timeout: TIMEOUT,
        }
    }

    pub fn arg(mut self, argument: impl Into<OsString>) -> Launch {
        self.arguments.push(argument.into());
        self
    }

    /// Starts the binary through another program, such as `prlimit`. It gets these arguments, then
    /// the path of the binary, then the binary's arguments. Signals go to that program, unless it
    /// replaces itself with the binary by `exec`.
    pub fn wrapped_by<A: Into<OsString>>(
        mut self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Launch {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.wrapper = Some((program.into(), arguments));
        self
    }

    /// Adds `--set key=value` after all arguments. The last value for a key wins.
    pub fn set(mut self, key: &str, value: impl Display) -> Launch {
        self.settings
            .insert(key.to_owned(), Some(value.to_string()));
        self
    }

    /// Removes a default of this harness, so that a file or a variable can set the key.
    pub fn unset(mut self, key: &str) -> Launch {
        self.settings.insert(key.to_owned(), None);
        self
    }

    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Launch {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Writes a file before the process starts, relative to its working directory.
    pub fn file(mut self, path: impl Into<PathBuf>, content: impl Into<String>) -> Launch {
        self.files.insert(path.into(), content.into());
        self
    }

    /// Passes a socket as systemd does: the first as descriptor 3, the next as 4, and so on.
    pub fn inherit(mut self, descriptor: impl Into<OwnedFd>) -> Launch {
        self.descriptors.push(Arc::new(descriptor.into()));
        self
    }

    /// Uses this working directory, and does not remove it at the end.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Launch {
        self.directory = Some(path.into());
        self
    }

    /// Sets the timeout for each event. The default is thirty seconds.
    pub fn timeout(mut self, timeout: Duration) -> Launch {
        self.timeout = timeout;
        self
    }

    /// Starts a process, and waits until it is ready. Panics if the start fails.
    pub async fn ready(self) -> Service {
        self.start().await.unwrap().ready().await
    }

    /// Starts a process with free ports and a JSON log, unless they are set.
    pub async fn start(mut self) -> anyhow::Result<Service> {
        for (key, value) in DEFAULTS {
            self.settings
                .entry(key.to_owned())
                .or_insert_with(|| Some(value.to_owned()));
        }
        // Writing files and forking block, which must not delay the test's connections.
        tokio::task::spawn_blocking(move || {
            let (mut command, directory, temporary) = self.prepare()?;
            let log = Log::new(self.timeout);
            let since = Mutex::new(Instant::now());
            let process = Process::spawn(&mut command, &log)
                .with_context(|| format!("cannot start {}", self.binary.display()))?;
            Ok(Service {
                process,
                directory,
                _temporary: temporary,
                log,
                timeout: self.timeout,
                since,
            })
        })
        .await?
    }

    /// Runs a command that ends by itself, such as `config check`, with only the given settings.
    pub async fn run(self) -> anyhow::Result<Output> {
        let (command, _, _temporary) = self.prepare()?;
        let output = process::run(command, self.timeout).await?;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Writes the files. Returns the command, its working directory, and the guard that removes a
    /// temporary directory.
    fn prepare(&self) -> anyhow::Result<(Command, PathBuf, Option<TempDir>)> {
        let (directory, temporary) = if let Some(path) = &self.directory {
            (path.clone(), None)
        } else {
            let temporary = TempDir::with_prefix("mainstay-")?;
            (temporary.path().to_owned(), Some(temporary))
        };
        for (path, content) in &self.files {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, content)?;
        }
        // The path of the binary is relative to the harness's directory, not to the working
        // directory.
        let binary = match self.binary.components().count() {
            1 => self.binary.clone(),
            _ => std::path::absolute(&self.binary)?,
        };
        let settings = self.settings.iter();
        let settings = settings.filter_map(|(key, value)| Some((key, value.as_ref()?)));
        let mut command = if let Some((program, arguments)) = &self.wrapper {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        } else {
            Command::new(binary)
        };
        let inherited = ["PATH", "HOME"].map(|name| env::var_os(name).map(|value| (name, value)));
        command
            .args(&self.arguments)
            .args(settings.flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]))
            .env_clear()
            .envs(inherited.into_iter().flatten())
            .envs(&self.environment)
            .current_dir(&directory);
        let mappings = (3..).zip(&self.descriptors).map(|(child_fd, descriptor)| {
            let parent_fd = descriptor.try_clone()?;
            Ok(FdMapping {
                parent_fd,
                child_fd,
            })
        });
        command.fd_mappings(mappings.collect::<io::Result<_>>()?)?;
        Ok((command, directory, temporary))
    }
}
