//! The real binary, as a test starts, watches and ends it.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::iter;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::client::get;
use super::exposition::Exposition;
#[cfg(feature = "_database")]
use super::scratch::TestEngine;

/// Longer than any test takes: only a failure waits for it.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// The settings of a test, unless it sets others.
const DEFAULTS: [(&str, &str); 3] = [
    ("http.listen", "127.0.0.1:0"),
    ("operator.listen", "127.0.0.1:0"),
    ("log.format", "json"),
];

/// The files in the directory of a process that have its output.
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

/// Removes the database of a test when it is dropped.
pub(super) type Guard = Box<dyn Any + Send + Sync>;

/// The binary of a service, with the settings and the environment that a test gives it.
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
    environment: Vec<(OsString, OsString)>,
    /// Makes a database, and returns its URL.
    database: Option<fn() -> (String, Guard)>,
}

impl Binary {
    /// The binary at this path, which cargo gives to an integration test:
    /// `env!("CARGO_BIN_EXE_name")`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            settings: DEFAULTS
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            environment: Vec::new(),
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
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives each process an empty database of its own, by the setting `database.url`. A test that
    /// starts two processes on one database keeps a [`Scratch`](super::Scratch) and sets `database.url` itself.
    #[cfg(feature = "_database")]
    pub fn database<E: TestEngine>(mut self) -> Self {
        self.database = Some(E::create);
        self
    }

    /// Starts the service and waits until it is ready.
    #[track_caller]
    pub fn start(&self) -> Running {
        let running = self.spawn();
        running.find("the event `ready`", |event| event["message"] == "ready");
        running
    }

    /// Runs a command that ends by itself, such as `config check`.
    #[track_caller]
    pub fn output(&self) -> Output {
        let running = self.spawn();
        Output {
            status: running.ended(),
            stdout: running.text(STDOUT),
            stderr: running.text(STDERR),
        }
    }

    /// Starts the service without waiting for anything.
    #[track_caller]
    pub fn spawn(&self) -> Running {
        let directory = TempDir::new().expect("a directory for the process");
        let file = |name| File::create(directory.path().join(name)).expect("a file for the output");
        let mut command = Command::new(&self.path);
        command.current_dir(&directory).stdin(Stdio::null());
        command
            .stdout(file(STDOUT))
            .stderr(file(STDERR))
            .env_clear();
        for name in ["PATH", "HOME"] {
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        let database = self.database.map(|create| {
            let (url, database) = create();
            command.env("APP__DATABASE__URL", url);
            database
        });
        command.envs(self.environment.iter().cloned());
        command.args(&self.arguments);
        for (key, value) in &self.settings {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let process = command.spawn();
        let process =
            process.unwrap_or_else(|error| panic!("cannot start {}: {error}", self.path.display()));
        Running {
            process: Mutex::new(process),
            returned: Mutex::default(),
            directory,
            _database: database,
        }
    }
}

/// The output and the status of a command.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// The text on stdout.
    pub stdout: String,
    /// The text on stderr.
    pub stderr: String,
}

/// A process that a [`Binary`] has started. It is killed when this is dropped, and its directory and its database
/// are removed.
///
/// A test waits for events of the log, and never for time to pass. An event that does not come within a minute, or
/// before the process ends, fails the test with the last lines of the process.
#[derive(Debug)]
#[must_use = "the process is killed when this is dropped"]
pub struct Running {
    process: Mutex<Child>,
    /// How many events with each message [`event`](Self::event) has returned.
    returned: Mutex<HashMap<String, usize>>,
    directory: TempDir,
    _database: Option<Guard>,
}

impl Running {
    /// The address of the listener `http`, once it listens.
    #[track_caller]
    pub fn http(&self) -> SocketAddr {
        self.address("http")
    }

    /// The address of the operator's listener, once it listens.
    #[track_caller]
    pub fn operator(&self) -> SocketAddr {
        self.address("operator")
    }

    /// The address of the listener of this name, once it listens.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let what = format!("the event `listening` of the listener `{listener}`");
        let event = self.find(&what, |event| {
            event["message"] == "listening" && event["listener"] == listener
        });
        let address = event["address"].as_str().and_then(|it| it.parse().ok());
        address.unwrap_or_else(|| panic!("no address to connect to in {event}"))
    }

    /// Waits for an event with this message. Each call gives the next one: the first call the first
    /// event with this message, the second call the second, and so on.
    #[track_caller]
    pub fn event(&self, message: &str) -> Value {
        let mut returned = lock(&self.returned);
        let place = returned.entry(message.to_owned()).or_default();
        let event = self.wait(&format!("the event {message:?}"), || {
            let mut events = self.log().filter(|event| event["message"] == message);
            events.nth(*place)
        });
        *place += 1;
        event
    }

    /// The metrics that the operator's listener gives now.
    #[track_caller]
    pub fn metrics(&self) -> Exposition {
        Exposition::read(&get(self.operator(), "/metrics").body)
    }

    /// Sends a signal to the process, which must not have ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        // The process ID is not reused before the process was waited for.
        assert_eq!(self.status(), None, "cannot send {signal:?}");
        let process = Pid::from_child(&lock(&self.process));
        kill_process(process, signal).expect("a signal to a child");
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub fn ended(&self) -> ExitStatus {
        self.wait("the end of the process", || self.status())
    }

    /// Waits for the first event since the start that matches.
    #[track_caller]
    fn find(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        self.wait(what, || self.log().find(&matches))
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, find: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            // Before the search, which then sees all output of a process that has ended.
            let has_ended = self.status().is_some();
            if let Some(found) = find() {
                return found;
            }
            if has_ended || begun.elapsed() > PATIENCE {
                let why = if has_ended {
                    "the process has ended"
                } else {
                    "not in time"
                };
                let [stdout, stderr] = [STDOUT, STDERR].map(|name| tail(&self.text(name)));
                panic!("no sign of {what}: {why}\nstdout:\n{stdout}\nstderr:\n{stderr}");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The events of the log, each read when it is asked for.
    fn log(&self) -> impl Iterator<Item = Value> {
        let file = File::open(self.directory.path().join(STDOUT));
        let mut file = BufReader::new(file.expect("the output of the process"));
        iter::from_fn(move || {
            let mut line = Vec::new();
            file.read_until(b'\n', &mut line).expect("a file");
            // A line that is being written is read the next time.
            let line = line.strip_suffix(b"\n")?;
            let event = serde_json::from_slice(line);
            let text = || String::from_utf8_lossy(line).into_owned();
            Some(event.unwrap_or_else(|_| panic!("a line of the log is not JSON: {}", text())))
        })
    }

    fn text(&self, name: &str) -> String {
        let text = fs::read(self.directory.path().join(name));
        String::from_utf8_lossy(&text.expect("the output of the process")).into_owned()
    }

    fn status(&self) -> Option<ExitStatus> {
        let status = lock(&self.process).try_wait();
        status.expect("the status of a child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut process = lock(&self.process);
        _ = process.kill();
        _ = process.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last 40 lines.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
