//! Logs: one event a line on stdout, JSON for machines or text for a terminal. What belongs to a request
//! that is followed has spans around it, which the feature `otlp` sends to a collector.
//!
//! Logging never waits. Lines go by way of a buffer and a thread, which a reader that has stopped
//! cannot stop the service through; what finds no room is counted, and told in its place. [`flush`]
//! stands before each way out of the process.
//!
//! The messages of [`message`] are a contract: dashboards and tests look for them. Everything else
//! may change its words.

mod filter;
mod json;
pub mod message;
#[cfg(not(feature = "otlp"))]
mod no_export;
#[cfg(feature = "otlp")]
pub mod otlp;
mod output;
#[cfg(test)]
mod page;
pub mod span;
mod text;
mod writer;

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use config::ValueKind;
use tracing_subscriber::prelude::*;
use tracing_subscriber::util::TryInitError;

pub use filter::{Filter, Filtering, InForce};
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
    pub format: Format,
    pub filter: Filter,
    pub buffer: ByteSize,
}

/// What `log.buffer` can be: a few lines at least, and nothing that could not be meant.
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

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    Json,
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

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the log's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
    #[error(transparent)]
    Twice(#[from] TryInitError),
}

/// The way to stdout, from the start of the log on.
static WRITER: OnceLock<Writer> = OnceLock::new();

impl Log {
    /// Starts logging, for the rest of the process. From then on, [`flush`] stands before its end.
    /// Whoever exports spans is told of them.
    ///
    /// # Errors
    ///
    /// When there is no thread for it, or something logs already.
    pub fn start(&self, spans: Option<Spans>) -> Result<Filtering, StartError> {
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

/// Whether this process logs.
pub(crate) fn is_started() -> bool {
    WRITER.get().is_some()
}

/// How long a process that ends waits for whoever reads its log: it may have a second left.
const LINGER: Duration = Duration::from_millis(900);

/// Waits until what was logged by now is written: for less than a second, and not for a reader that has
/// gone. It blocks: for the end of a process, and for commands.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(LINGER);
    }
}

/// What is logged by this has a place in the log also when there is no room for anything else: for the
/// events of a stop.
pub fn insist(tell: impl FnOnce()) {
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

/// How many lines were lost since the start, because there was no room for them.
#[must_use]
pub fn lost_lines() -> u64 {
    WRITER.get().map_or(0, Writer::lost)
}
