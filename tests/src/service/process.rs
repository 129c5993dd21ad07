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

/// How long the pipes may stay open after the process has ended. Its own output is available at
/// once; only a descendant can keep them open.
const LINGER: Duration = Duration::from_secs(5);

/// A running child. Dropping it kills and reaps it.
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

/// How and when a process ended, and the resources that it used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) at: Instant,
    pub(crate) usage: Usage,
}

/// The resources that a process, and the children that it waited for, used in total.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub user: Duration,
    pub system: Duration,
    /// Bytes. Linux counts from the fork, before the program was loaded, so a large harness shows
    /// through. While the process lives, [`Service::peak_rss`](super::Service::peak_rss) gives the
    /// figure of the program alone.
    pub max_rss: u64,
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

        let life = Arc::new(Life::default());
        let (publish, end) = watch::channel(None);
        let reaper = thread::spawn({
            let (life, log) = (Arc::clone(&life), log.clone());
            move || {
                let end = reap(child, pid, &life);
                // An error means that both readers are done: all output is in the log before the
                // log ends.
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

    /// Sends a signal. False if the process has already been reaped: then no signal was sent.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.while_unreaped(|pid| kill_process(pid, signal).is_ok())
            .unwrap_or(false)
    }

    /// Runs an action while the process cannot be reaped, so that its id stays valid.
    pub(crate) fn while_unreaped<T>(&self, action: impl FnOnce(Pid) -> T) -> Option<T> {
        let reaped = self.life.lock();
        (!*reaped).then(|| action(self.pid))
    }

    /// Waits until the process has ended and its output has been read; `None` on timeout.
    pub(crate) async fn end(&self, limit: Duration) -> Option<End> {
        let mut end = self.end.clone();
        let known = timeout(limit, end.wait_for(Option::is_some)).await.ok()?;
        *known.expect("the reaper publishes the end before it stops")
    }

    /// Blocks until the process has ended, but at most for `limit`. For `drop`, which cannot be
    /// async.
    pub(crate) fn block_until_end(&self, limit: Duration) {
        let alive = |reaped: &mut bool| !*reaped;
        let _ = self
            .life
            .over
            .wait_timeout_while(self.life.lock(), limit, alive);
    }
}

impl Life {
    /// The lock guards one flag, which a panic cannot leave half written.
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    /// Blocks for milliseconds, until the process is reaped and its pipes are closed.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
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
        assert_eq!(error, Errno::INTR, "only the reaper waits for this process");
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

fn name(signal: i32) -> String {
    let named = Signal::from_named_raw(signal);
    named.map_or_else(
        || format!("signal {signal}"),
        |signal| format!("{signal:?}"),
    )
}
