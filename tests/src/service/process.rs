//! A child process that cannot outlive its owner, and whose process id is never confused with
//! another's.
//!
//! The kernel may reuse a process id as soon as the process has been reaped. So every use of the id
//! holds a lock ([`Process::while_unreaped`]). The reaper waits for the end *without* reaping, then
//! reaps under the same lock. A late signal is dropped, never sent to another process.
//!
//! Threads of the operating system read the output, so that a busy or blocked test runtime does not
//! stall the process's pipes.

use std::{
    fmt::{self, Display},
    io::{self, BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};
use tokio::{sync::watch, time::timeout};

use crate::log::{Line, Log};

/// How long the pipes may stay open after the process has ended. Its own output is available at
/// once; only a descendant can keep them open.
const LINGER: Duration = Duration::from_secs(5);

/// A running child. Dropping it kills and reaps it.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    is_reaped: Arc<Mutex<bool>>,
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
        let (open, closed) = mpsc::channel();
        read_lines(child.stdout.take(), log, Line::stdout, open.clone());
        read_lines(child.stderr.take(), log, Line::Stderr, open);

        let is_reaped = Arc::new(Mutex::new(false));
        let (publish, end) = watch::channel(None);
        let reaper = thread::spawn({
            let (is_reaped, log) = (Arc::clone(&is_reaped), log.clone());
            move || {
                let end = reap(child, pid, &is_reaped);
                // An error means that both readers are done: all output is in the log before the
                // log ends.
                let _ = closed.recv_timeout(LINGER);
                log.end(format!("the process {end}"));
                publish.send_replace(Some(end));
            }
        });
        Ok(Process {
            pid,
            is_reaped,
            end,
            reaper: Some(reaper),
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal. False if the process has already been reaped: then no signal was sent.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.while_unreaped(|pid| kill_process(pid, signal).is_ok())
            .unwrap_or(false)
    }

    /// Runs an action while the process cannot be reaped, so that its id stays valid.
    pub(crate) fn while_unreaped<T>(&self, action: impl FnOnce(Pid) -> T) -> Option<T> {
        let is_reaped = lock(&self.is_reaped);
        (!*is_reaped).then(|| action(self.pid))
    }

    /// Waits until the process has ended and its output has been read; `None` on timeout.
    pub(crate) async fn end(&self, limit: Duration) -> Option<End> {
        let mut end = self.end.clone();
        let known = timeout(limit, end.wait_for(Option::is_some)).await.ok()?;
        *known.expect("the reaper publishes the end before it stops")
    }

    /// Sends a signal that ends the process, and blocks until it is reaped and its pipes are closed.
    pub(crate) fn end_by(mut self, signal: Signal) {
        self.block_until_end_by(signal);
    }

    fn block_until_end_by(&mut self, signal: Signal) {
        self.signal(signal);
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.block_until_end_by(Signal::KILL);
    }
}

/// The lock guards one flag, which a panic cannot leave half written.
fn lock(is_reaped: &Mutex<bool>) -> MutexGuard<'_, bool> {
    is_reaped.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status.code() {
            Some(code) => write!(f, "has exited with code {code}"),
            None => write!(f, "was ended by signal {:?}", self.status.signal()),
        }
    }
}

fn reap(mut child: Child, pid: Pid, is_reaped: &Mutex<bool>) -> End {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(error) = waitid(WaitId::Pid(pid), ended) {
        assert_eq!(error, Errno::INTR, "only the reaper waits for this process");
    }
    let at = Instant::now();
    let mut is_reaped = lock(is_reaped);
    let status = child.wait().expect("a child that has ended can be reaped");
    *is_reaped = true;
    End { status, at }
}

/// Reads until the end of the pipe, and drops `open` then.
fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    log: &Log,
    kind: fn(String) -> Line,
    open: mpsc::Sender<()>,
) {
    let log = log.clone();
    let mut pipe = BufReader::new(pipe.expect("the output is piped"));
    thread::spawn(move || {
        let _open = open;
        let mut line = Vec::new();
        while pipe
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let text = String::from_utf8_lossy(&line);
            log.push(kind(text.strip_suffix('\n').unwrap_or(&text).to_owned()));
            line.clear();
        }
    });
}
