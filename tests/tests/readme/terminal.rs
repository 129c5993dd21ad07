//! Runs commands as in a terminal, and reads their output.
//!
//! The differences from a newcomer's terminal: free ports, so that services can run beside others;
//! the JSON log, since a terminal gets the pretty format; and cargo's target directory.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use harness::repository;
use harness::variant::build_as_services;
use rustix::process::{Pid, Signal, kill_process_group};

/// Includes the time of a build.
const PATIENCE: Duration = Duration::from_mins(15);

/// A service that a command runs: both outputs in one pipe, and its own process group for Ctrl-C.
pub(crate) struct Service {
    process: Child,
    lines: Receiver<String>,
    /// A documented address with its port, and the one in use.
    ports: Vec<(&'static str, String)>,
}

impl Service {
    /// Starts a service, and returns it with its output until it is ready.
    pub(crate) fn start(command: &str, directory: &Path) -> (Self, String) {
        let mut process = sh(&format!("exec {command}"), directory)
            .env("APP__HTTP__LISTEN", "127.0.0.1:0")
            .env("APP__OPERATOR__LISTEN", "127.0.0.1:0")
            .env("APP__LOG__FORMAT", "pretty")
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let output = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut lines = output.lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        let mut service = Self {
            process,
            lines,
            ports: Vec::new(),
        };
        let mut said = String::new();
        while !said.ends_with(": ready\n") {
            let line = service.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("{error} after:\n{said}"));
            for (listener, documented) in [("operator", ":9090"), ("http", ":8080")] {
                let mark = format!("listener=\"{listener}\" address=127.0.0.1");
                let port = line.split_once(&mark).map(|(_, port)| port.to_owned());
                service.ports.extend(port.map(|port| (documented, port)));
            }
            said.extend([&line, "\n"]);
        }
        assert_eq!(service.ports.len(), 2, "the listeners in:\n{said}");
        (service, said)
    }

    /// Replaces the documented ports with those of this service.
    pub(crate) fn local(&self, text: &str) -> String {
        let ports = self.ports.iter();
        ports.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// Stops it with Ctrl-C, and returns the rest of its output.
    pub(crate) fn interrupt(mut self) -> String {
        let group = Pid::from_child(&self.process);
        kill_process_group(group, Signal::INT).expect("it is running");
        let lines = self.lines.iter();
        let said: Vec<_> = lines.filter(|line| !line.contains(": request ")).collect();
        let status = self.process.wait().expect("the process has ended");
        assert!(status.success(), "{status}");
        said.join("\n") + "\n"
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        _ = self.process.wait();
    }
}

/// The commands of a transcript with their outputs. Output before the first command belongs to an
/// empty one.
pub(crate) fn steps(transcript: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in transcript.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push((command.to_owned(), String::new()));
        } else {
            if steps.is_empty() {
                steps.push(Default::default());
            }
            let (_, said) = steps.last_mut().expect("there is a step");
            said.extend([line, "\n"]);
        }
    }
    steps
}

/// Adapts a command of this repository that generates a project: the project goes to the current
/// directory.
pub(crate) fn generating(command: &str) -> Option<String> {
    let arguments = command.strip_prefix("cargo run -- new ")?;
    let generator = repository::generator();
    Some(format!("{} new {arguments} --into .", generator.display()))
}

/// Runs a command, and returns its output.
pub(crate) fn shell(command: &str, directory: &Path) -> String {
    let output = sh(command, directory).output();
    let mut said = String::from_utf8(output.expect("sh runs").stdout).expect("text");
    if !said.is_empty() && !said.ends_with('\n') {
        said.push('\n');
    }
    said
}

fn sh(command: &str, directory: &Path) -> Command {
    let mut sh = Command::new("sh");
    sh.args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(directory);
    build_as_services(&mut sh);
    sh
}
