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
use rustix::process::{Pid, Signal, kill_process_group};

/// Includes the time of a build.
const PATIENCE: Duration = Duration::from_mins(15);

/// A running command: both outputs in one pipe, and its own process group for Ctrl-C.
pub(crate) struct Terminal {
    process: Child,
    lines: Receiver<String>,
}

impl Terminal {
    pub(crate) fn run(command: &str, directory: &Path) -> Self {
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
        Self { process, lines }
    }

    /// Reads the output up to and including a line.
    pub(crate) fn read_until(&self, last: impl Fn(&str) -> bool) -> String {
        let mut said = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("{error} after:\n{said}"));
            said.extend([&line, "\n"]);
            if last(&line) {
                return said;
            }
        }
    }

    pub(crate) fn interrupt(&self) {
        let group = Pid::from_child(&self.process);
        kill_process_group(group, Signal::INT).expect("it is running");
    }

    pub(crate) fn rest(&mut self) -> String {
        let lines = self.lines.iter();
        let said: Vec<_> = lines.filter(|line| !line.contains(": request ")).collect();
        let status = self.process.wait().expect("the process has ended");
        assert!(status.success(), "{status}");
        said.join("\n") + "\n"
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        _ = self.process.wait();
    }
}

/// The port of a listener, from the service's output.
pub(crate) fn port(said: &str, listener: &str) -> String {
    let mark = format!("listener=\"{listener}\" address=127.0.0.1:");
    let address = said.lines().find_map(|line| line.split_once(&mark));
    let (_, port) = address.unwrap_or_else(|| panic!("no {listener} in:\n{said}"));
    port.to_owned()
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
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", repository::services())
        .env("CARGO_INCREMENTAL", "0");
    sh
}
