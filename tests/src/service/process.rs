//! A child process that cannot outlive its owner.
//!
//! Signals go to its pidfd. A late one is dropped, never sent to another process: the kernel may
//! reuse a process id as soon as the process has been reaped.
//!
//! Threads of the operating system read the output, so that a busy or blocked test runtime does not
//! stall the process's pipes.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::fd::OwnedFd,
    process::{Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{sync::watch, time::timeout};

use crate::log::{Line, Log};

/// How long the pipes may stay open after the process has ended. Its own output is available at
/// once; only a descendant can keep them open.
const LINGER: Duration = Duration::from_secs(5);

/// A running child. Dropping it kills and reaps it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    handle: OwnedFd,
    end: watch::Receiver<Option<End>>,
    reaper: Option<JoinHandle<()>>,
}

/// How and when a process ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) at: Instant,
}

impl Process {
    /// Starts the command with its output going to `log`, and without standard input.
    pub(crate) fn spawn(command: &mut Command, log: &Log) -> io::Result<Process> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pid = Pid::from_child(&child);
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        let (open, closed) = mpsc::channel();
        read_lines(child.stdout.take(), log, Line::stdout, open.clone());
        read_lines(child.stderr.take(), log, Line::Stderr, open);

        let (publish, end) = watch::channel(None);
        let log = log.clone();
        let reaper = thread::spawn(move || {
            let status = child.wait().expect("only this thread waits for it");
            let at = Instant::now();
            // An error means that both readers are done: all output is in the log before the log
            // ends.
            let _ = closed.recv_timeout(LINGER);
            log.end(format!("the process has ended: {status}"));
            publish.send_replace(Some(End { status, at }));
        });
        Ok(Process {
            pid,
            handle,
            end,
            reaper: Some(reaper),
        })
    }

    /// Sends a signal. False if the process has already been reaped: then no signal was sent.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.handle, signal).is_ok()
    }

    /// Waits until the process has ended and its output has been read; `None` on timeout.
    pub(crate) async fn end(&self, limit: Duration) -> Option<End> {
        let mut end = self.end.clone();
        let known = timeout(limit, end.wait_for(Option::is_some)).await.ok()?;
        *known.expect("the reaper publishes the end before it stops")
    }

    /// Sends a signal that ends the process, and blocks until it is reaped and its pipes are closed.
    pub(crate) fn end_by(&mut self, signal: Signal) {
        self.signal(signal);
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_by(Signal::KILL);
    }
}

/// Runs a command that ends by itself, without standard input. Kills it on timeout.
pub(crate) async fn run(command: Command, limit: Duration) -> anyhow::Result<Output> {
    let name = command.get_program().display().to_string();
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    timeout(limit, output)
        .await
        .with_context(|| format!("{name} did not end within {limit:?}"))?
        .with_context(|| format!("cannot start {name}"))
}

/// Reads until the end of the pipe, and drops `open` then.
fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    log: &Log,
    kind: fn(String) -> Line,
    open: mpsc::Sender<()>,
) {
    let log = log.clone();
    let pipe = BufReader::new(pipe.expect("the output is piped"));
    thread::spawn(move || {
        let _open = open;
        for line in pipe.split(b'\n').map_while(Result::ok) {
            log.push(kind(String::from_utf8_lossy(&line).into_owned()));
        }
    });
}
