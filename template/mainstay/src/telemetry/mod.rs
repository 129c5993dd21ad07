//! The log: one event per line on stdout, as JSON for machines or as text for a terminal. With the feature `otlp`,
//! the spans of sampled requests go to a collector.
//!
//! Logging never blocks. Lines pass through a buffer of `log.buffer` bytes to a thread that writes them. If
//! the reader of stdout stalls, lines that do not fit are dropped and counted, and an event reports how many.
//! [`flush`] empties the buffer before the process exits.

mod filter;
mod json;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt::{self, Debug};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use garde::Validate;
use serde::Deserialize;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer as FmtWriter, debug_fn};
use tracing_subscriber::prelude::*;

pub use filter::Filter;
pub(crate) use filter::{FilterHandle, FilterState};

use self::json::Json;
use self::writer::Writer;
use crate::settings::{ByteSize, within};

/// `[log]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[allow(missing_docs, reason = "the keys are described beside their defaults")]
pub struct Log {
    pub format: Format,
    pub filter: Filter,
    #[garde(custom(within("64KiB", "1GiB")))]
    pub buffer: ByteSize,
}

/// The format of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// [`Pretty`](Self::Pretty) on a terminal, [`Json`](Self::Json) elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// Text for people.
    Pretty,
}

/// The writer of stdout, set when the log starts.
static WRITER: OnceLock<&Writer> = OnceLock::new();

impl Log {
    /// Starts the log of this process. Call [`flush`] before the process exits.
    ///
    /// [`Process::init`](crate::Process::init) does this for a service. Fails if the process already has a
    /// subscriber of `tracing`.
    pub fn start(&self) -> io::Result<()> {
        self.start_with_handle().map(drop)
    }

    pub(crate) fn start_with_handle(&self) -> io::Result<FilterHandle> {
        let is_terminal = io::stdout().is_terminal();
        let is_pretty = match self.format {
            Format::Auto => is_terminal,
            format => format == Format::Pretty,
        };
        // Without the lock and the line buffer of `io::Stdout`.
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let writer = Writer::start(self.buffer.0, stdout)?;
        let lines = if is_pretty {
            tracing_subscriber::fmt::layer()
                .with_ansi(is_terminal)
                .fmt_fields(debug_fn(format_field).delimited(" "))
                .with_writer(move || writer)
                .boxed()
        } else {
            Json(writer).boxed()
        };
        let (filter, handle) = FilterHandle::new(&self.filter);
        super::panics::install_hook();
        let layers = tracing_subscriber::registry().with(filter).with(lines);
        #[cfg(feature = "otlp")]
        let layers = layers.with(otlp::layer());
        layers.try_init().map_err(io::Error::other)?;
        _ = WRITER.set(writer);
        Ok(handle)
    }
}

/// Formats a field for a terminal. No value can end the line or control the terminal.
fn format_field(out: &mut FmtWriter<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let text = format!("{value:?}").replace(char::is_control, "\u{fffd}");
    match field.name().trim_start_matches("r#") {
        // A message that is a constant is formatted as a string, with quotes.
        "message" => out.write_str(text.trim_matches('"')),
        name => write!(out, "{name}={text}"),
    }
}

pub(crate) fn is_started() -> bool {
    WRITER.get().is_some()
}

/// Blocks the thread until all events so far are written, for less than half a second. Does not wait if the reader
/// of stdout is gone. Call it at the end of the process.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        // The process may have one second left, in which it flushes before and after its last event.
        writer.flush(Duration::from_millis(450));
    }
}

/// Logs why the process cannot start or continue. Writes to stderr if the log filter disables errors.
pub(crate) fn log_failure(error: &(dyn std::error::Error + 'static)) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(message = message::FAILED, cause = %error);
    } else {
        // Without stderr, there is no other place to report it.
        _ = writeln!(io::stderr(), "error: {error}");
    }
}

/// The number of lines that were dropped since the start, because the buffer was full.
#[must_use]
pub fn lost_lines() -> u64 {
    WRITER.get().map_or(0, |writer| writer.lost())
}

/// The names of the spans of this crate: one for each sampled request, and one for each of its statements. The
/// feature `otlp` also exports the service's own spans inside of these, if `log.filter` enables them.
pub(crate) mod span {
    pub(crate) const REQUEST: &str = "request";
    #[cfg(any(feature = "_database", feature = "otlp"))]
    pub(crate) const STATEMENT: &str = "statement";
}

/// The stable log messages, each with its fields: dashboards, tests and operators rely on them. The text of
/// any other message may change.
pub(crate) mod message {
    pub(crate) const LISTENING: &str = "listening"; // listener, address
    pub(crate) const READY: &str = "ready";
    pub(crate) const FAILED: &str = "failed"; // cause
    pub(crate) const DRAINING: &str = "draining"; // signal or cause
    pub(crate) const WAITING: &str = "waiting"; // phase, for, left; every five seconds of a stop
    pub(crate) const RELOADED: &str = "reloaded"; // filter
    pub(crate) const REFILTERED: &str = "refiltered"; // by, filter, for
    pub(crate) const LOST: &str = "log lines were lost"; // lost: how many are missing here
    #[cfg(feature = "otlp")]
    pub(crate) const EXPORT_FAILS: &str = "export fails"; // signal, endpoint, cause
    #[cfg(feature = "otlp")]
    pub(crate) const EXPORTS_AGAIN: &str = "export works again"; // signal
    #[cfg(feature = "otlp")]
    pub(crate) const SPANS_LOST: &str = "spans were lost"; // lost: since the start
    pub(crate) const STOPPED: &str = "stopped"; // outcome, exit_code, abandoned
    pub(crate) const REQUEST: &str = "request"; // method, route, status, duration_ms, request_id
}
