//! A child process that cannot outlive its owner, and is never mistaken for another.
//!
//! The kernel may give a process's number to another as soon as it has been reaped. So whoever uses
//! the number holds a lock ([`Process::while_unreaped`]), and the reaper first waits *without*
//! reaping, and reaps under the same lock. A signal that comes too late is dropped, never sent to a
//! stranger.
//!
//! Output is read by threads of the operating system, so that a busy or blocked test runtime does
//! not stall the process's pipes.

use std::{
    fmt::{self, Display},
    io::{self, BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};
use tokio::{sync::watch, time::timeout};
use wait4::Wait4;

use crate::log::{Line, Log};

/// How long the pipes of a process that has ended may stay open. Its own output is there at once;
/// only a descendant that it left behind can hold them.
const LINGER: Duration = Duration::from_secs(5);

/// A running child. Dropped, it is killed and reaped.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    life: Arc<Life>,
    end: watch::Receiver<Option<End>>,
    reaper: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Life {
    reaped: Mutex<bool>,
    over: Condvar,
}

/// How and when a process ended, and what it had used by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) at: Instant,
    pub(crate) usage: Usage,
}

/// What a process, and the children that it waited for, used in its whole life.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub user: Duration,
    pub system: Duration,
    /// Bytes. Linux counts from the fork, before the program was loaded, so that a large harness
    /// shows through. [`Service::peak_rss`](super::Service::peak_rss) knows the program alone, as
    /// long as it lives.
    pub max_rss: u64,
}

impl Process {
    /// Starts the command with its output going to `log`, and nothing to read.
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

        let life = Arc::new(Life::default());
        let (publish, end) = watch::channel(None);
        let reaper = thread::spawn({
            let (life, log) = (Arc::clone(&life), log.clone());
            move || {
                let end = reap(child, pid, &life);
                // An error means that both readers are done: the last words are in the log before
                // it ends.
                let _ = closed.recv_timeout(LINGER);
                log.end(format!("the process {end}"));
                publish.send_replace(Some(end));
            }
        });
        Ok(Process {
            pid,
            life,
            end,
            reaper: Some(reaper),
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// False when the process has already ended, and been reaped: then nothing was sent.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.while_unreaped(|pid| kill_process(pid, signal).is_ok())
            .unwrap_or(false)
    }

    /// Does something with the process's number while it is certain that the number is still its
    /// own.
    pub(crate) fn while_unreaped<T>(&self, action: impl FnOnce(Pid) -> T) -> Option<T> {
        let reaped = self.life.lock();
        (!*reaped).then(|| action(self.pid))
    }

    /// Waits until the process has ended and its output has been read; nothing, if that takes
    /// longer than `limit`.
    pub(crate) async fn end(&self, limit: Duration) -> Option<End> {
        let mut end = self.end.clone();
        let known = timeout(limit, end.wait_for(Option::is_some)).await.ok()?;
        *known.expect("the reaper publishes an end before it goes")
    }

    /// Blocks until the process has ended, but no longer than `limit`. For a drop, which cannot
    /// wait in any other way.
    pub(crate) fn block_until_end(&self, limit: Duration) {
        let alive = |reaped: &mut bool| !*reaped;
        let _ = self
            .life
            .over
            .wait_timeout_while(self.life.lock(), limit, alive);
    }
}

impl Life {
    /// It guards one flag: a panic elsewhere cannot leave it half written.
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    /// Blocks, for milliseconds: until it is reaped and its pipes are closed.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
    }
}

/// Runs a command that ends by itself, with nothing to read. One that does not end in time is
/// killed.
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
            None => write!(
                f,
                "was ended by {}",
                name(self.status.signal().unwrap_or_default())
            ),
        }
    }
}

fn reap(child: Child, pid: Pid, life: &Life) -> End {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(error) = waitid(WaitId::Pid(pid), ended) {
        assert_eq!(error, Errno::INTR, "nobody else waits for this process");
    }
    let at = Instant::now();
    let mut reaped = life.lock();
    let wait4::ResUse { status, rusage } =
        child.wait4().expect("a child that has ended can be reaped");
    *reaped = true;
    life.over.notify_all();
    End {
        status,
        at,
        usage: Usage {
            user: rusage.utime,
            system: rusage.stime,
            max_rss: rusage.maxrss,
        },
    }
}

/// Reads until the end of the pipe, and drops `open` then.
fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    log: &Log,
    kind: fn(String) -> Line,
    open: mpsc::Sender<()>,
) {
    let log = log.clone();
    let mut pipe = BufReader::new(pipe.expect("the pipe was asked for"));
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

fn name(signal: i32) -> String {
    let named = Signal::from_named_raw(signal);
    named.map_or_else(
        || format!("signal {signal}"),
        |signal| format!("{signal:?}"),
    )
}
