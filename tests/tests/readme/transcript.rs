//! The transcript of the README, replayed: each command is run, and must say what the page says.
//!
//! In the page, `…` stands for anything within a line, and alone on a line for any lines. What the
//! test changes is where the service listens, so that it can run beside others, and the format of
//! the log, which is pretty only on a terminal.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use keelson::repository;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::readme;

/// A build is part of what is waited for.
const PATIENCE: Duration = Duration::from_mins(15);

#[test]
fn the_first_minute_goes_as_the_readme_says() {
    let blocks = console_blocks(&readme());
    let [start, questions, end, mistakes] = blocks.as_slice() else {
        panic!(
            "the README has {} transcripts, and this test knows four",
            blocks.len()
        );
    };
    let directory = tempfile::tempdir().expect("a temporary directory");

    let (command, expected) = &start[0];
    let arguments = command
        .strip_prefix("cargo run -- ")
        .expect("the first command generates");
    let mut service = Terminal::run(arguments, directory.path());
    let said = service.read_until(|line| line.ends_with(": ready"));
    let ports = ["operator", "http"].map(|name| port(&said, name));
    let local = |text: &str| text.replace("9090", &ports[0]).replace("8080", &ports[1]);
    assert_like(&local(expected), &said);

    for (command, expected) in questions {
        assert_like(&local(expected), &shell(&local(command), directory.path()));
    }

    service.interrupt();
    assert_like(&end[0].1, &service.rest());

    let (command, expected) = &mistakes[0];
    assert_like(expected, &shell(command, &directory.path().join("lookout")));
}

/// Each transcript: its commands, and what is said after each. What comes before any command is
/// said after none.
fn console_blocks(page: &str) -> Vec<Vec<(String, String)>> {
    let blocks = page.split("```console\n").skip(1);
    blocks
        .map(|block| {
            let mut steps: Vec<(String, String)> = Vec::new();
            for line in block.split("```").next().unwrap_or_default().lines() {
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
        })
        .collect()
}

/// A command as in a terminal: both outputs in one, and a group of its own for Ctrl-C.
struct Terminal {
    process: Child,
    lines: Receiver<String>,
}

impl Terminal {
    fn run(arguments: &str, directory: &Path) -> Self {
        let keelson = env!("CARGO_BIN_EXE_keelson");
        let script = format!("exec {keelson} {arguments} --into . 2>&1");
        let mut process = Command::new("sh")
            .args(["-c", &script])
            .current_dir(directory)
            .env("CARGO_TARGET_DIR", repository::services())
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
    fn read_until(&self, last: impl Fn(&str) -> bool) -> String {
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

    fn interrupt(&self) {
        let group = Pid::from_child(&self.process);
        kill_process_group(group, Signal::INT).expect("it is running");
    }

    fn rest(&mut self) -> String {
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

fn port(said: &str, listener: &str) -> String {
    let mark = format!("listener=\"{listener}\" address=127.0.0.1:");
    let rest = said
        .split(&mark)
        .nth(1)
        .unwrap_or_else(|| panic!("no {listener} in:\n{said}"));
    rest.lines().next().unwrap_or_default().to_owned()
}

fn shell(command: &str, directory: &Path) -> String {
    let output = Command::new("sh")
        .args(["-c", &format!("{command} 2>&1")])
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", repository::services())
        .output();
    let mut said = String::from_utf8(output.expect("sh runs").stdout).expect("text");
    if !said.ends_with('\n') {
        said.push('\n');
    }
    said
}

/// `…` stands for anything within a line, or for any lines where it stands alone.
fn assert_like(expected: &str, said: &str) {
    let expected: Vec<_> = expected.lines().collect();
    let lines: Vec<_> = said.lines().collect();
    let like = lines_like(&expected, &lines);
    assert!(
        like,
        "the README says\n\n{}\n\nand it is\n\n{said}",
        expected.join("\n")
    );
}

fn lines_like(expected: &[&str], said: &[&str]) -> bool {
    match (expected, said) {
        ([], []) => true,
        (["…", more @ ..], said) => (0..=said.len()).any(|skip| lines_like(more, &said[skip..])),
        ([line, more @ ..], [spoken, rest @ ..]) => {
            line_like(line, spoken) && lines_like(more, rest)
        }
        _ => false,
    }
}

fn line_like(expected: &str, said: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|start| said.strip_prefix(start)) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn likeness_is_not_too_kind() {
    assert!(lines_like(&["a…c", "…", "e"], &["abbc", "x", "y", "e"]));
    assert!(lines_like(&["…", "e"], &["e"]));
    assert!(!lines_like(&["a…c"], &["abbd"]));
    assert!(!lines_like(&["a"], &["a", "b"]));
    assert!(!lines_like(&["a", "b"], &["a"]));
    assert!(!line_like("ab…", "a"));
}
