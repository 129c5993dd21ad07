//! The log: one event a line on stdout, JSON for machines or text for a terminal. With the feature `otlp`,
//! the spans of sampled requests go to a collector.
//!
//! Logging never blocks. Lines pass through a buffer of `log.buffer` bytes to a thread that writes them. If
//! the reader of stdout stalls, lines that do not fit are dropped and counted, and an event reports how many.
//! [`flush`] empties the buffer before the process exits.
//!
//! The messages in [`message`] are a contract: dashboards and tests rely on them. All other messages may
//! change.

mod filter;
mod json;
pub mod message;
#[cfg(not(feature = "otlp"))]
mod no_export;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
mod output;
#[cfg(test)]
mod page;
pub(crate) mod span;
mod text;
mod writer;

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use config::ValueKind;
use tracing_subscriber::prelude::*;
use tracing_subscriber::util::TryInitError;

pub use filter::Filter;
pub(crate) use filter::{Filtering, InForce};
#[cfg(not(feature = "otlp"))]
pub(crate) use no_export::{Export, Spans};
#[cfg(feature = "otlp")]
pub(crate) use otlp::{Export, Spans};

use self::json::Json;
use self::output::Output;
use self::writer::Writer;
use crate::settings::{ByteSize, Check, Reader, Section, Setting};

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// The format of a line.
    pub format: Format,
    /// The events that are logged.
    pub filter: Filter,
    /// The size of the buffer for lines that are not written yet.
    pub buffer: ByteSize,
}

/// The least and the most that `log.buffer` can be: room for a few lines, and no obvious mistake.
const SIZES: [usize; 2] = [64 << 10, 1 << 30];

impl Section for Log {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            format: from.value("format"),
            filter: from.value("filter"),
            buffer: from.value("buffer"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        let [least, most] = SIZES;
        check.that(
            (least..=most).contains(&self.buffer.0),
            &["log.buffer"],
            "must be from 64KiB to 1GiB",
        );
    }
}

/// The format of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// [`Pretty`](Self::Pretty) on a terminal, [`Json`](Self::Json) elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// Text for people.
    Pretty,
}

impl Setting for Format {
    const EXPECTED: &'static str = "`auto`, `json` or `pretty`";

    fn parse(value: &ValueKind) -> Option<Self> {
        let words = [
            ("auto", Self::Auto),
            ("json", Self::Json),
            ("pretty", Self::Pretty),
        ];
        super::settings::one_of(value, &words)
    }
}

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system refused the thread that writes.
    #[error("the log's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// The process has a subscriber of `tracing` already.
    #[error(transparent)]
    Twice(#[from] TryInitError),
}

/// Writes to stdout, once the log has started.
static WRITER: OnceLock<Writer> = OnceLock::new();

impl Log {
    /// Starts the log of this process. Call [`flush`] before the process exits.
    ///
    /// [`Process::init`](crate::Process::init) does this for a service.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started, or the process has a subscriber of `tracing` already.
    pub fn start(&self) -> Result<(), StartError> {
        self.start_with(None).map(drop)
    }

    /// Starts the log, with a layer that takes the spans.
    pub(crate) fn start_with(&self, spans: Option<Spans>) -> Result<Filtering, StartError> {
        let terminal = io::stdout().is_terminal();
        let pretty = match self.format {
            Format::Auto => terminal,
            Format::Json => false,
            Format::Pretty => true,
        };
        let lost = if pretty { text::lost } else { json::lost };
        let writer = Writer::start(self.buffer.0, Output(io::stdout()), lost)?;
        let lines = if pretty {
            tracing_subscriber::fmt::layer()
                .with_ansi(terminal)
                .fmt_fields(text::Fields)
                .with_writer(writer.clone())
                .boxed()
        } else {
            Json(writer.clone()).boxed()
        };
        let (filter, filtering) = Filtering::by(&self.filter);
        super::panics::log();
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .with(spans)
            .try_init()?;
        _ = WRITER.set(writer);
        Ok(filtering)
    }
}

/// Whether the log has started.
pub(crate) fn is_started() -> bool {
    WRITER.get().is_some()
}

/// How long [`flush`] waits for the reader of stdout: a process that is killed may have a second left.
const LINGER: Duration = Duration::from_millis(900);

/// Waits until all events so far are written: less than a second, and not at all if the reader of stdout has
/// gone. It blocks the thread: call it at the end of the process.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(LINGER);
    }
}

/// Logs events of a stop, for which the buffer keeps room when it is full.
pub(crate) fn insist(tell: impl FnOnce()) {
    writer::insist(tell);
}

/// Logs why the process cannot start or go on: on stderr if the filter keeps it out of the log.
pub(crate) fn log_failure(error: &(dyn std::error::Error + 'static)) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(cause = %error, message = message::FAILED);
    } else {
        // Without stderr, there is no other place to report it.
        _ = writeln!(io::stderr(), "error: {error}");
    }
}

/// The lines that were dropped since the start because the buffer was full.
#[must_use]
pub fn lost_lines() -> u64 {
    WRITER.get().map_or(0, Writer::lost)
}
