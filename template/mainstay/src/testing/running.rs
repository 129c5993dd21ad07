//! The real binary, running: its log, its listeners, signals, and its end.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::capture::Capture;
use super::client::{PATIENCE, get};
use super::exposition::Exposition;

/// A process that a [`Binary`](super::Binary) has started. It is killed when this is dropped, and its
/// directory and its database are removed.
///
/// A test waits for events of the log, and never for time to pass. An event that does not come within a minute, or
/// before the process ends, fails the test with the last lines of the process.
#[derive(Debug)]
#[must_use = "the process is killed when this is dropped"]
pub struct Running {
    process: Mutex<Child>,
    capture: Arc<Capture>,
    directory: TempDir,
    _database: Option<Owned>,
}

/// Something that must exist as long as the process does.
pub(super) type Owned = Box<dyn Any + Send + Sync>;

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

impl Running {
    #[track_caller]
    pub(super) fn spawn(mut command: Command, directory: TempDir, database: Option<Owned>) -> Self {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start {}: {error}", command.get_program().display())
        });
        Self {
            capture: Capture::of(&mut process),
            process: Mutex::new(process),
            directory,
            _database: database,
        }
    }

    /// Waits until the service is ready.
    #[track_caller]
    pub fn ready(&self) {
        self.wait_for("the event `ready`", |event| event["message"] == "ready");
    }

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
        let event = self.wait_for(&what, |event| {
            event["message"] == "listening" && event["listener"] == listener
        });
        let address = event["address"].as_str().map(str::parse);
        let Some(Ok(address)) = address else {
            panic!("no address to connect to in {event}")
        };
        address
    }

    /// Waits for an event with this message. Each call gives the next one: the first call the first
    /// event with this message, the second call the second, and so on.
    #[track_caller]
    pub fn event(&self, message: &str) -> Value {
        self.capture.next_event(message, PATIENCE)
    }

    /// Waits for the first event since the start that matches. `what` names it in the failure.
    #[track_caller]
    pub fn wait_for(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.capture.first_event(what, fits, PATIENCE)
    }

    /// All events of the log up to now.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.capture.events()
    }

    /// The metrics that the operator's listener gives now.
    #[track_caller]
    pub fn metrics(&self) -> Exposition {
        Exposition::read(&get(self.operator(), "/metrics").body)
    }

    /// The working directory of the process.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process ID.
    pub fn pid(&self) -> u32 {
        self.with_process(|process| process.id())
    }

    /// Sends a signal to the process, which must not have ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let sent = self.with_process(|process| {
            // The process ID is not reused before the process was waited for.
            if process.try_wait()?.is_some() {
                return Err(io::Error::other("the process has ended"));
            }
            Ok(kill_process(Pid::from_child(process), signal)?)
        });
        sent.unwrap_or_else(|error| panic!("cannot send {signal:?}: {error}"));
    }

    /// Waits until the process has ended: up to two minutes, since a stop may take long.
    #[track_caller]
    pub fn ended(&self) -> ExitStatus {
        self.capture.wait_for_end(PATIENCE * 2);
        let ended = self.with_process(Child::wait);
        ended.expect("the status of a process that has ended")
    }

    /// Waits for the end, and returns the whole output.
    #[track_caller]
    pub(super) fn output(&self) -> Output {
        Output {
            status: self.ended(),
            stdout: self.capture.stdout(),
            stderr: self.capture.stderr(),
        }
    }

    fn with_process<T>(&self, action: impl FnOnce(&mut Child) -> T) -> T {
        action(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.with_process(|process| {
            _ = process.kill();
            _ = process.wait();
        });
    }
}
