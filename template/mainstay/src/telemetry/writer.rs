//! Writes the lines of the log: a buffer in memory, and a thread that empties it.
//!
//! A caller that logs never waits for the reader of stdout. Lines gather in one half of the buffer while the thread
//! writes the other half, with as few calls as possible. If the reader stalls or has gone, or the disk is full, the
//! buffer fills up, and further lines are dropped as a whole and counted. When writing works again, the output
//! continues at the byte where it stopped, and a line reports how many others are missing there.
//!
//! The buffer keeps [room](insist) for the events of a stop.
//!
//! A line is written some milliseconds later. A process that is killed loses the lines of that time.

#![expect(
    clippy::disallowed_methods,
    reason = "the thread is its own, and only the end of the process waits for it"
)]

use std::cell::Cell;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// How long lines gather before the next call, unless half of a half is full.
const REST: Duration = Duration::from_millis(2);

/// The pause before a failed call is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Room for the line that reports a loss.
const NOTICE: usize = 512;

/// Room for the lines of [`insist`].
const RESERVE: usize = 8 << 10;

thread_local! {
    static INSISTS: Cell<bool> = const { Cell::new(false) };
}

/// Logs events of a stop, for which the buffer keeps room when it is full.
pub(crate) fn insist(log: impl FnOnce()) {
    INSISTS.set(true);
    log();
    INSISTS.set(false);
}

/// The line that reports how many others were dropped.
pub(super) type Notice = fn(u64) -> String;

/// Takes finished lines. All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Writer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The bytes that a half of the buffer holds.
    half: usize,
    state: Mutex<State>,
    /// Notified when there are lines for the thread, or a failed call is to be tried again.
    work: Condvar,
    /// Notified when bytes were written, or a call failed.
    progress: Condvar,
    lost: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// The lines that the thread takes next. Its capacity never grows.
    lines: Vec<u8>,
    /// The lines that were dropped after these. No other line follows, so that the loss has its place.
    missing: u64,
    /// The lines of [`insist`] that follow the loss.
    insisted: Vec<u8>,
    /// In bytes, since the start.
    appended: u64,
    written: u64,
    /// The bytes that the thread waits for.
    waits_for: Option<usize>,
    /// The last call has failed.
    stuck: bool,
    /// The next failed call is tried again at once: it may have begun before the flush.
    urged: bool,
}

impl Writer {
    /// Starts the thread, which writes to `output` for the rest of the process. The buffer takes `size` bytes.
    pub(super) fn start(
        size: usize,
        output: impl Write + Send + 'static,
        notice: Notice,
    ) -> io::Result<Self> {
        let half = size / 2;
        let writer = Self(Arc::new(Inner {
            half,
            state: Mutex::new(State {
                lines: Vec::with_capacity(half + NOTICE + RESERVE),
                missing: 0,
                insisted: Vec::with_capacity(RESERVE),
                appended: 0,
                written: 0,
                waits_for: None,
                stuck: false,
                urged: false,
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
            lost: AtomicU64::new(0),
        }));
        let inner = Arc::clone(&writer.0);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || inner.write_to(output, notice))?;
        Ok(writer)
    }

    /// Takes a line, with its end, or drops it. Never waits for the output.
    pub(super) fn append(&self, line: &[u8]) {
        let mut state = self.0.state();
        let gap = state.missing > 0 || !state.insisted.is_empty();
        if !gap && state.lines.len() + line.len() <= self.0.half {
            state.lines.extend_from_slice(line);
            state.appended += line.len() as u64;
        } else if INSISTS.get() && state.insisted.len() + line.len() <= RESERVE {
            state.insisted.extend_from_slice(line);
            state.appended += line.len() as u64;
        } else {
            state.missing += 1;
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
        let enough = state.has_enough() && state.waits_for.take().is_some();
        drop(state);
        if enough {
            self.0.work.notify_one();
        }
    }

    /// Waits until all lines so far are written, `limit` is over, or the output fails.
    pub(super) fn flush(&self, limit: Duration) {
        let mut state = self.0.state();
        // The thread does not wait for more lines, and tries a failed call once more.
        state.waits_for = None;
        state.stuck = false;
        state.urged = true;
        self.0.work.notify_one();
        let mut goal = None;
        let waits = |state: &mut State| {
            if state.missing == 0 {
                goal.get_or_insert(state.appended);
            }
            !state.stuck && goal.is_none_or(|goal| state.written < goal)
        };
        _ = self.0.progress.wait_timeout_while(state, limit, waits);
    }

    /// The lines that were dropped since the start.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// No code under the lock can panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut output: impl Write, notice: Notice) {
        let mut batch = Vec::with_capacity(self.half + NOTICE + RESERVE);
        loop {
            self.take(&mut batch, notice);
            let mut rest = batch.as_slice();
            while !rest.is_empty() {
                match output.write(rest) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => self.wait_to_try_again(),
                    Ok(written) => {
                        rest = &rest[written..];
                        self.proceed(written);
                    }
                }
            }
            batch.clear();
            drop(self.wait_for(self.half / 2, REST));
        }
    }

    /// Waits for lines, and swaps them for an empty batch.
    fn take(&self, batch: &mut Vec<u8>, notice: Notice) {
        let mut state = self.wait_for(1, Duration::MAX);
        mem::swap(&mut state.lines, batch);
        if state.missing > 0 {
            let notice = notice(mem::take(&mut state.missing));
            state.appended += notice.len() as u64;
            batch.extend_from_slice(notice.as_bytes());
        }
        batch.append(&mut state.insisted);
    }

    /// Waits for this many bytes, for a loss, or for the limit.
    fn wait_for(&self, bytes: usize, limit: Duration) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.waits_for = Some(bytes);
        let waits = |state: &mut State| !state.has_enough();
        let waited = self.work.wait_timeout_while(state, limit, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waits_for = None;
        state
    }

    fn proceed(&self, written: usize) {
        let mut state = self.state();
        state.written += written as u64;
        state.stuck = false;
        self.progress.notify_all();
    }

    fn wait_to_try_again(&self) {
        let mut state = self.state();
        if mem::take(&mut state.urged) {
            return;
        }
        state.stuck = true;
        self.progress.notify_all();
        _ = self
            .work
            .wait_timeout_while(state, RETRY, |state| state.stuck);
    }
}

impl State {
    fn has_enough(&self) -> bool {
        let lines = self.lines.len();
        self.missing > 0 || self.waits_for.is_none_or(|bytes| lines >= bytes)
    }
}

/// For layers that write text: each call appends a whole line.
impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The descriptor of stdout, without the buffer and the lock of `std`.
#[derive(Debug)]
pub(super) struct Stdout<Descriptor>(pub(super) Descriptor);

impl<Descriptor: AsFd> Write for Stdout<Descriptor> {
    /// Waits for room, also if another process has made the descriptor nonblocking.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, bytes) {
                Err(Errno::AGAIN) => {
                    // A reader that leaves ends the wait as well.
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
