//! Writes the log: lines go to a buffer in memory, and a thread writes the buffer to stdout.
//!
//! A caller never waits for the reader of stdout. Lines gather in one half of the buffer while the thread writes the
//! other half, with as few calls as possible. If the reader stalls or the disk is full, the buffer fills up, and
//! further lines are dropped as a whole and counted. When writing works again, the output continues at the byte where
//! it stopped, and a line reports how many others are missing there. A process that is killed loses the lines of the
//! last milliseconds.

#![expect(
    clippy::disallowed_methods,
    reason = "the thread is its own, and only the end of the process waits for it"
)]

use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::message;
use crate::panics::lock;

/// How long the thread pauses between two calls, so that lines gather. A buffer that is half full ends the pause.
const PAUSE: Duration = Duration::from_millis(2);

/// The pause before the thread repeats a call that failed.
const RETRY: Duration = Duration::from_millis(10);

/// Room in the buffer for the line that reports a loss.
const LOSS_REPORT: usize = 512;

/// Takes finished lines. It lives as long as the process.
#[derive(Debug)]
pub(super) struct Writer {
    half: usize,
    state: Mutex<State>,
    /// Notified when the thread gets work, and when `lines` becomes half full.
    work: Condvar,
    /// Notified when the thread has written all lines that it has taken.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The lines that the thread takes next. Its capacity never grows.
    lines: Vec<u8>,
    /// The number of lines that were dropped after these. No line is appended until a report of the loss stands in
    /// their place.
    missing: u64,
    /// The number of lines that were dropped since the start.
    lost: u64,
    /// Whether the thread has taken lines that it has not written yet.
    is_writing: bool,
}

impl Writer {
    /// Starts the thread, which writes to `output` until the process ends. The buffer takes `size` bytes.
    pub(super) fn start(
        size: usize,
        output: impl Write + Send + 'static,
    ) -> io::Result<&'static Self> {
        let half = size / 2;
        let writer: &Self = Box::leak(Box::new(Self {
            half,
            state: Mutex::new(State {
                lines: Vec::with_capacity(half + LOSS_REPORT),
                ..State::default()
            }),
            work: Condvar::new(),
            written: Condvar::new(),
        }));
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_to(output))?;
        Ok(writer)
    }

    /// Appends a line that ends in a line break, or drops it. Never waits for the output.
    pub(super) fn append(&self, line: &[u8]) {
        let mut state = lock(&self.state);
        let (is_first, was_half_full) = (!state.has_work(), self.is_half_full(&state));
        if state.missing == 0 && state.lines.len() + line.len() <= self.half {
            state.lines.extend_from_slice(line);
        } else {
            state.missing += 1;
            state.lost += 1;
        }
        let is_half_full = self.is_half_full(&state);
        drop(state);
        if is_first || (is_half_full && !was_half_full) {
            self.work.notify_one();
        }
    }

    /// Waits until all lines are written, for at most `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let is_unwritten = |state: &mut State| state.is_writing || state.has_work();
        _ = self
            .written
            .wait_timeout_while(lock(&self.state), limit, is_unwritten);
    }

    pub(super) fn lost(&self) -> u64 {
        lock(&self.state).lost
    }

    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::with_capacity(self.half + LOSS_REPORT);
        loop {
            let waited = self.work.wait_while(lock(&self.state), |it| !it.has_work());
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            state.report_loss();
            mem::swap(&mut state.lines, &mut batch);
            state.is_writing = true;
            drop(state);
            let mut rest = batch.as_slice();
            while !rest.is_empty() {
                match output.write(rest) {
                    Ok(written @ 1..) => rest = &rest[written..],
                    // A closed pipe stays closed: drop the batch.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                    Ok(0) | Err(_) => thread::sleep(RETRY),
                }
            }
            batch.clear();
            lock(&self.state).is_writing = false;
            self.written.notify_all();
            let idle = |state: &mut State| !self.is_half_full(state);
            let paused = self.work.wait_timeout_while(lock(&self.state), PAUSE, idle);
            drop(paused);
        }
    }

    fn is_half_full(&self, state: &State) -> bool {
        state.lines.len() >= self.half / 2
    }
}

impl State {
    fn has_work(&self) -> bool {
        self.missing > 0 || !self.lines.is_empty()
    }

    /// Appends an event, in JSON, that reports how many lines are missing.
    fn report_loss(&mut self) {
        if self.missing > 0 {
            let now = humantime::format_rfc3339_micros(SystemTime::now());
            // Writing to memory does not fail.
            _ = writeln!(
                self.lines,
                r#"{{"timestamp":"{now}","level":"WARN","target":"{}","message":"{}","lost":{}}}"#,
                module_path!(),
                message::LOST,
                mem::take(&mut self.missing)
            );
        }
    }
}

/// For layers that write text: each call appends a whole line.
impl Write for &Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
