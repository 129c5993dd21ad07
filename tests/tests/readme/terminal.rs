//! What somebody types into a terminal, and what is said there.
//!
//! What differs from a newcomer's is where a service listens, so that it can run beside others; the format
//! of the log, which is pretty only on a terminal; and where cargo builds.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use harness::repository;
use rustix::process::{Pid, Signal, kill_process_group};

/// A build is part of what is waited for.
const PATIENCE: Duration = Duration::from_mins(15);

/// A command as in a terminal: both outputs in one, and a group of its own for Ctrl-C.
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
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { process, lines }
    }

    /// What is said up to a line, and that line.
    pub(crate) fn read_until(&self, last: impl Fn(&str) -> bool) -> String {
        let mut said = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("{error} after:\n{said}"));
            said += &line;
            said += "\n";
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
        let said: Vec<_> = self
            .lines
            .iter()
            .filter(|line| !line.contains(": request "))
            .collect();
        let status = self.process.wait().expect("it has ended");
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

/// Where a listener of the service is, by what it has said.
pub(crate) fn port(said: &str, listener: &str) -> String {
    let mark = format!("listener=\"{listener}\" address=127.0.0.1:");
    let rest = said
        .split(&mark)
        .nth(1)
        .unwrap_or_else(|| panic!("no {listener} in:\n{said}"));
    rest.lines().next().unwrap_or_default().to_owned()
}

/// The commands of a transcript, and what is said after each. What comes before any command is said after
/// none.
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
            *said += line;
            *said += "\n";
        }
    }
    steps
}

/// A command of this repository that generates a project, as it is typed here: the project goes
/// where the command runs.
pub(crate) fn generating(command: &str) -> Option<String> {
    let arguments = command.strip_prefix("cargo run -- new ")?;
    let generator = repository::generator();
    Some(format!("{} new {arguments} --into .", generator.display()))
}

/// What a command says until it ends.
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
