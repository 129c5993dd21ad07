//! The output of a process, line by line, and waiting for an event in it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The lines of each stream that a failure shows.
const TAIL: usize = 40;

/// The output of a process, which threads read while it runs.
#[derive(Debug)]
pub(super) struct Capture {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stdout: Vec<Line>,
    stderr: Vec<Line>,
    /// The streams that are still open.
    open: usize,
    /// For each message, the line at which the search for the next event begins.
    cursors: HashMap<String, usize>,
}

#[derive(Debug)]
struct Line {
    text: String,
    /// The line as JSON, if it is.
    event: Option<Value>,
}

impl Capture {
    /// Reads the output of this process, to its end.
    pub(super) fn of(process: &mut Child) -> Arc<Self> {
        let state = Mutex::new(State {
            open: 2,
            ..State::default()
        });
        let capture = Arc::new(Self {
            state,
            changed: Condvar::new(),
        });
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        capture.read(stdout.expect("a pipe"), |state| &mut state.stdout);
        capture.read(stderr.expect("a pipe"), |state| &mut state.stderr);
        capture
    }

    fn read(
        self: &Arc<Self>,
        stream: impl Read + Send + 'static,
        lines: fn(&mut State) -> &mut Vec<Line>,
    ) {
        let capture = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).into_owned();
                let event = serde_json::from_str(&text).ok();
                lines(&mut capture.lock()).push(Line { text, event });
                capture.changed.notify_all();
            }
            capture.lock().open -= 1;
            capture.changed.notify_all();
        });
    }

    /// The next event with this message: each call returns another one.
    #[track_caller]
    pub(super) fn next_event(&self, message: &str, limit: Duration) -> Value {
        let what = format!("the event {message:?}");
        self.wait(&what, limit, |state| {
            let from = state.cursors.get(message).copied().unwrap_or(0);
            let (at, event) = state.find_event(from, |event| event["message"] == message)?;
            state.cursors.insert(message.to_owned(), at + 1);
            Some(event)
        })
    }

    /// The first event that matches.
    #[track_caller]
    pub(super) fn first_event(
        &self,
        what: &str,
        matches: impl Fn(&Value) -> bool,
        limit: Duration,
    ) -> Value {
        self.wait(what, limit, |state| {
            state.find_event(0, &matches).map(|(_, event)| event)
        })
    }

    /// Waits until both streams are closed, at the end of the process.
    #[track_caller]
    pub(super) fn wait_for_end(&self, limit: Duration) {
        self.wait("the end of the process", limit, |state| {
            (state.open == 0).then_some(())
        });
    }

    #[track_caller]
    pub(super) fn events(&self) -> Vec<Value> {
        let state = self.lock();
        let events = state.stdout.iter().map(Line::event);
        events.cloned().collect()
    }

    pub(super) fn stdout(&self) -> String {
        text(&self.lock().stdout)
    }

    pub(super) fn stderr(&self) -> String {
        text(&self.lock().stderr)
    }

    #[track_caller]
    fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&mut State) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&mut state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let why = if state.open == 0 {
                "the process has ended".to_owned()
            } else if left.is_zero() {
                format!("not within {limit:?}")
            } else {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            let (stdout, stderr) = (tail(&state.stdout), tail(&state.stderr));
            // Released before the panic: a drop may lock it.
            drop(state);
            panic!("no sign of {what}: {why}\nstdout:\n{stdout}\nstderr:\n{stderr}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    #[track_caller]
    fn find_event(&self, from: usize, matches: impl Fn(&Value) -> bool) -> Option<(usize, Value)> {
        let mut lines = self.stdout.iter().enumerate().skip(from);
        let (at, line) = lines.find(|(_, line)| matches(line.event()))?;
        Some((at, line.event().clone()))
    }
}

impl Line {
    #[track_caller]
    fn event(&self) -> &Value {
        let event = self.event.as_ref();
        event.unwrap_or_else(|| panic!("a line of the log is not JSON: {}", self.text))
    }
}

fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}

fn tail(lines: &[Line]) -> String {
    text(&lines[lines.len().saturating_sub(TAIL)..])
}
