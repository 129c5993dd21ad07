//! The real binary, as a test starts, watches and ends it.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::{env, thread};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Exposition, Guard, PATIENCE, get};
#[cfg(feature = "_database")]
use super::{Scratch, TestEngine};

const DEFAULTS: [(&str, &str); 3] = [
    ("APP__HTTP__LISTEN", "127.0.0.1:0"),
    ("APP__OPERATOR__LISTEN", "127.0.0.1:0"),
    ("APP__LOG__FORMAT", "json"),
];

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
#[derive(Debug)]
#[must_use = "a binary does nothing until it is started"]
pub struct Binary {
    command: Command,
    database: Option<Guard>,
}

impl Binary {
    /// The binary at this path, such as `env!("CARGO_BIN_EXE_name")` in an integration test.
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(path);
        command.env_clear().envs(DEFAULTS).stdin(Stdio::null());
        for name in ["PATH", "HOME"] {
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        Self {
            command,
            database: None,
        }
    }

    /// Adds an argument, such as the name of a command.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds `--set key=value`. The last value of a key wins.
    pub fn set(self, key: &str, value: impl Display) -> Self {
        self.arg("--set").arg(format!("{key}={value}"))
    }

    /// Adds a variable to the environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives the process an empty database of its own. For two processes on one database, keep a [`Scratch`] and set
    /// `database.url`.
    #[cfg(feature = "_database")]
    pub fn database<E: TestEngine>(mut self) -> Self {
        let Scratch { url, guard } = E::scratch();
        self.database = Some(guard);
        self.env("APP__DATABASE__URL", url)
    }

    /// Starts the service and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Running {
        let running = self.spawn();
        running.event("ready");
        running
    }

    /// Runs a command that ends by itself, such as `config check`.
    #[track_caller]
    pub fn output(mut self) -> Output {
        let directory = TempDir::new().expect("a directory for the process");
        let output = self.command.current_dir(&directory).output();
        output.expect("a process")
    }

    /// Starts the service without waiting for anything.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        let directory = TempDir::new().expect("a directory for the process");
        let command = self.command.current_dir(&directory);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("a process");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        Running {
            process: Mutex::new(process),
            log: Mutex::new((lines, Vec::new())),
            _directory: directory,
            _database: self.database,
        }
    }
}

/// A process that a [`Binary`] has started. It is killed when this is dropped, and its directory and its database
/// are removed.
///
/// An event that does not come within a minute, or before the process ends, fails the test.
#[derive(Debug)]
#[must_use = "the process is killed when this is dropped"]
pub struct Running {
    process: Mutex<Child>,
    /// Further lines of the log, and the events that [`event`](Self::event) has not returned.
    log: Mutex<(Receiver<String>, Vec<Value>)>,
    _directory: TempDir,
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

    #[track_caller]
    fn address(&self, listener: &str) -> SocketAddr {
        self.wait(&format!("the listener {listener:?}"), |events| {
            let mut listening = events.iter().filter(|it| it["message"] == "listening");
            let event = listening.find(|it| it["listener"] == listener)?;
            event["address"].as_str()?.parse().ok()
        })
    }

    /// Waits for an event with this message. Each call gives the next one.
    #[track_caller]
    pub fn event(&self, message: &str) -> Value {
        self.wait(&format!("the event {message:?}"), |events| {
            let place = events.iter().position(|it| it["message"] == message)?;
            Some(events.remove(place))
        })
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, find: impl Fn(&mut Vec<Value>) -> Option<T>) -> T {
        let (lines, events) = &mut *self.log.lock().unwrap();
        loop {
            if let Some(found) = find(events) {
                return found;
            }
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                panic!("no sign of {what} before the process ended or in time: {events:#?}");
            };
            let event = serde_json::from_str(&line);
            events.push(event.unwrap_or_else(|_| panic!("no JSON in the log: {line}")));
        }
    }

    /// The metrics that the operator's listener gives now.
    #[track_caller]
    pub fn metrics(&self) -> Exposition {
        Exposition::read(&get(self.operator(), "/metrics").body)
    }

    /// Sends a signal to the process, which must not have ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let mut process = self.process.lock().unwrap();
        // The process ID is not reused before the process was waited for.
        assert_eq!(process.try_wait().unwrap(), None, "cannot send {signal:?}");
        kill_process(Pid::from_child(&process), signal).expect("a signal to a child");
    }

    /// Waits until the process has ended.
    pub fn ended(&self) -> ExitStatus {
        self.process.lock().unwrap().wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap();
        _ = process.kill();
        _ = process.wait();
    }
}
