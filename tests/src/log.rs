//! The output of a process under test: its JSON log, and all other lines.
//!
//! A [`Log`] only grows. A wait ends when a line arrives or the process ends; no wait is a fixed
//! sleep. A wait that fails panics: at once if the process has ended, otherwise after the log's
//! timeout. The panic names the caller's line, the expected event, how the process ended,
//! and the last thirty lines of its output.

use std::{
    fmt::{self, Display, Write as _},
    future::Future,
    panic::Location,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use tokio::{
    sync::watch,
    time::{Instant as Deadline, timeout_at},
};

const TAIL: usize = 30;

/// One line of a service's JSON log.
#[derive(Clone, Debug)]
pub struct Event {
    pub timestamp: String,
    pub level: String,
    pub target: String,
    pub message: String,
    pub fields: Map<String, Value>,
    /// When the harness read the line, to measure the time between two events.
    pub received: Instant,
}

impl Event {
    /// `None` unless the line is a JSON object.
    fn parse(line: &str) -> Option<Event> {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
            return None;
        };
        let mut text = |name| match fields.shift_remove(name) {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        Some(Event {
            timestamp: text("timestamp"),
            level: text("level"),
            target: text("target"),
            message: text("message"),
            fields,
            received: Instant::now(),
        })
    }

    /// The value of a field, `null` if there is no such field.
    pub fn field(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:>5} {}: {}",
            self.timestamp, self.level, self.target, self.message
        )?;
        self.fields
            .iter()
            .try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// One line of output, in the order in which it arrived.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    Event(Event),
    /// On standard output, but not a JSON object.
    Stray(String),
    Stderr(String),
}

impl Line {
    pub(crate) fn stdout(text: String) -> Line {
        Event::parse(&text).map_or(Line::Stray(text), Line::Event)
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Event(event) => write!(f, "  {event}"),
            Line::Stray(text) => write!(f, "  (not JSON) {text}"),
            Line::Stderr(text) => write!(f, "  (stderr) {text}"),
        }
    }
}

/// The growing record of a process's output. Clones share it.
#[derive(Clone, Debug)]
pub struct Log {
    record: Arc<watch::Sender<Record>>,
    /// The first line that this view sees.
    start: usize,
    timeout: Duration,
}

#[derive(Debug, Default)]
struct Record {
    lines: Vec<Line>,
    ended: Option<String>,
}

impl Log {
    pub(crate) fn new(timeout: Duration) -> Log {
        Log {
            record: Arc::new(watch::Sender::default()),
            start: 0,
            timeout,
        }
    }

    pub(crate) fn push(&self, line: Line) {
        self.record.send_modify(|record| record.lines.push(line));
    }

    pub(crate) fn end(&self, how: String) {
        self.record.send_modify(|record| record.ended = Some(how));
    }

    /// The same log without its lines so far. After `let later = service.log().from_now();`,
    /// `later.event("…")` cannot match an event that is older than the test's action.
    #[must_use]
    pub fn from_now(&self) -> Log {
        Log {
            start: self.record.borrow().lines.len(),
            ..self.clone()
        }
    }

    /// Waits for the first event with this message. An event that already arrived counts.
    #[track_caller]
    pub fn event(&self, message: &str) -> impl Future<Output = Event> {
        let caller = Location::caller();
        let what = format!("the event `{message}`");
        async move {
            self.expect(caller, &what, |event| event.message == message)
                .await
        }
    }

    /// Waits for the first event that matches. `what` describes it in a failure. `fits` sees every
    /// event once, in order, so that it may count.
    #[track_caller]
    pub fn wait_for(
        &self,
        what: &str,
        fits: impl FnMut(&Event) -> bool,
    ) -> impl Future<Output = Event> {
        self.expect(Location::caller(), what, fits)
    }

    pub(crate) async fn expect(
        &self,
        caller: &Location<'_>,
        what: &str,
        mut fits: impl FnMut(&Event) -> bool,
    ) -> Event {
        let found = self.find(|line| match line {
            Line::Event(event) if fits(event) => Some(event.clone()),
            _ => None,
        });
        match found.await {
            Ok(event) => event,
            Err(failure) => panic!("{caller}: waited for {what}, but {failure}"),
        }
    }

    /// Waits for the first line for which `probe` returns a value. The error says why there is
    /// none, and ends with the log's tail.
    pub(crate) async fn find<T>(
        &self,
        mut probe: impl FnMut(&Line) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Deadline::now() + self.timeout;
        let mut growth = self.record.subscribe();
        let mut seen = self.start;
        loop {
            {
                let record = growth.borrow_and_update();
                if let Some(found) = record.lines[seen..].iter().find_map(&mut probe) {
                    return Ok(found);
                }
                seen = record.lines.len();
                if let Some(ended) = &record.ended {
                    return Err(format!("{ended}\n{}", record.tail()));
                }
            }
            // The sender cannot be gone: `self` holds it.
            if timeout_at(deadline, growth.changed()).await.is_err() {
                let (limit, tail) = (self.timeout, self.tail());
                return Err(format!("it did not come within {limit:?}\n{tail}"));
            }
        }
    }

    pub fn events(&self) -> Vec<Event> {
        self.select(|line| match line {
            Line::Event(event) => Some(event.clone()),
            _ => None,
        })
    }

    /// Lines on standard output that are not JSON objects.
    pub fn strays(&self) -> Vec<String> {
        self.select(|line| match line {
            Line::Stray(text) => Some(text.clone()),
            _ => None,
        })
    }

    pub fn stderr(&self) -> String {
        let lines = self.select(|line| match line {
            Line::Stderr(text) => Some(text.clone() + "\n"),
            _ => None,
        });
        lines.concat()
    }

    pub fn tail(&self) -> String {
        self.record.borrow().tail()
    }

    fn select<T>(&self, pick: impl Fn(&Line) -> Option<T>) -> Vec<T> {
        self.record.borrow().lines[self.start..]
            .iter()
            .filter_map(pick)
            .collect()
    }
}

impl Record {
    fn tail(&self) -> String {
        let last = &self.lines[self.lines.len().saturating_sub(TAIL)..];
        let mut text = match last.len() {
            0 => String::from("it has written nothing"),
            shown => format!("its last {shown} of {} lines:", self.lines.len()),
        };
        for line in last {
            let _ = write!(text, "\n{line}");
        }
        text
    }
}
