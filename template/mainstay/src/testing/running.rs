//! The real binary, started and stopped as an operator would: what the tests share.
//!
//! A test asks for port 0 and has a directory and a database of its own, so that any number can run
//! at once. It waits for events of the log, never for time to pass.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::scratch::Scratch;

const BINARY: &str = env!(
    // Where cargo has put the binary of this package.{{ nl }}    "CARGO_BIN_EXE_{{ project-name }}"{% comment %}
    "CARGO_BIN_EXE_beacon" // {% endcomment %}
);

/// Longer than anything here takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary in a directory of its own, with no settings from the environment of the test.
pub(crate) fn command(directory: &TempDir) -> Command {
    let mut command = Command::new(BINARY);
    command.current_dir(directory.path());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("APP_") {
            command.env_remove(name);
        }
    }
    // Nor anything that is meant for the test's own supervisor.
    command.env_remove("NOTIFY_SOCKET");
    command
}

/// The service, running.
pub(crate) struct Running {
    process: Child,
    log: Receiver<Value>,
    /// What was logged before it was ready: tasks do not wait for that.
    early: RefCell<VecDeque<Value>>,
    pub(crate) http: SocketAddr,
    pub(crate) operator: SocketAddr,
    /// Removed when the test is over, and the process with them.
    _directory: TempDir,
    _database: Scratch,
}

impl Running {
    /// Starts the service and waits until it is ready.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_with(settings, &[])
    }

    /// The same, with variables of its own.
    pub(crate) fn start_with(settings: &[&str], environment: &[(&str, &str)]) -> Self {
        let (directory, database) = (TempDir::new().unwrap(), Scratch::new());
        let mut command = command(&directory);
        command.env("APP__DATABASE__URL", database.url());
        command.envs(environment.iter().copied());
        let always = [
            "http.listen=127.0.0.1:0",
            "operator.listen=127.0.0.1:0",
            "log.format=json",
        ];
        for setting in always.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (events, log) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line)
                    .unwrap_or_else(|_| panic!("a line of the log is not JSON: {line}"));
                _ = events.send(event);
            }
        });
        let mut running = Self {
            process,
            log,
            early: RefCell::default(),
            http: ([0, 0, 0, 0], 0).into(),
            operator: ([0, 0, 0, 0], 0).into(),
            _directory: directory,
            _database: database,
        };
        running.operator = running.listening("operator");
        running.http = running.listening("http");
        running.begun("ready");
        running
    }

    /// The next event with this message; those before it are passed over.
    pub(crate) fn event(&self, message: &str) -> Value {
        let early = &mut *self.early.borrow_mut();
        while let Some(event) = early.pop_front() {
            if event["message"] == message {
                return event;
            }
        }
        self.until(message).0
    }

    /// The next event with this message that has not been looked at, and those before it.
    fn until(&self, message: &str) -> (Value, Vec<Value>) {
        let mut passed = Vec::new();
        loop {
            let event = self
                .log
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|error| panic!("no event {message:?} ({error}), but: {passed:#?}"));
            if event["message"] == message {
                return (event, passed);
            }
            passed.push(event);
        }
    }

    /// The same, for what is looked at here alone: tests can wait for all others.
    fn begun(&mut self, message: &str) -> Value {
        let (event, passed) = self.until(message);
        self.early.get_mut().extend(passed);
        event
    }

    fn listening(&mut self, listener: &str) -> SocketAddr {
        let event = self.begun("listening");
        assert_eq!(event["listener"], listener);
        event["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = Pid::from_child(&self.process);
        kill_process(process, signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// An answer: its status, its head, its body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "")
}

/// One request on a connection of its own; a body is JSON.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    ask_with(address, method, path, "", body)
}

/// The same, with more lines in its head. It asks for the connection to be closed, unless they
/// say otherwise.
pub(crate) fn ask_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    head: &str,
    body: &str,
) -> Answer {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let close = if head.contains("connection:") {
        ""
    } else {
        "connection: close\r\n"
    };
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{close}\
         content-type: application/json\r\ncontent-length: {length}\r\n{head}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
