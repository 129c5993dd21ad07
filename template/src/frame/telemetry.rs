//! Logs: one event a line on stdout, JSON for machines or text for a terminal.
//!
//! The messages of [`message`] are a contract: dashboards and tests look for them. Everything else
//! may change its words.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use config::ValueKind;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::settings::{Reader, Section, Setting};

/// Messages that outsiders rely on.
pub mod message {
    /// A socket accepts connections: `listener`, `address`.
    pub const LISTENING: &str = "listening";
    /// The start is complete.
    pub const READY: &str = "ready";
    /// The start did not succeed: `cause`.
    pub const FAILED: &str = "failed";
    /// The stop has begun: `signal` or `cause`.
    pub const DRAINING: &str = "draining";
    /// The stop still waits, every five seconds: `phase`, `for`, `left`.
    pub const WAITING: &str = "waiting";
    /// SIGHUP was followed: `filter`.
    pub const RELOADED: &str = "reloaded";
    /// The last event: `outcome`, `exit_code`, `abandoned`.
    pub const STOPPED: &str = "stopped";
    /// One request was answered: `method`, `route`, `status`, `duration_ms`, `request_id`.
    pub const REQUEST: &str = "request";
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    pub format: Format,
    pub filter: Filter,
}

impl Section for Log {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            format: from.value("format"),
            filter: from.value("filter"),
        }
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

/// Which events are logged, in the syntax of `tracing_subscriber`'s filters.
#[derive(Debug, Clone)]
pub struct Filter(String);

impl Setting for Filter {
    const EXPECTED: &'static str = "levels by target, such as `info` or `info,sqlx=warn`";

    fn parse(value: &ValueKind) -> Option<Self> {
        let text = String::parse(value)?;
        // A bare word is taken for a target, and a mistyped level for one that mutes all others.
        let meant = |part: &str| part.contains('=') || LevelFilter::from_str(part).is_ok();
        let whole = !text.is_empty() && text.split(',').all(meant);
        (whole && EnvFilter::builder().parse(&text).is_ok()).then_some(Self(text))
    }
}

/// Changes what is logged while the process runs.
#[derive(Debug, Clone)]
pub struct Filtering(reload::Handle<EnvFilter, Registry>);

impl Filtering {
    /// From now on, only what this filter lets through is logged.
    pub fn change(&self, filter: &Filter) {
        // It fails only when nothing is logged any more.
        _ = self.0.reload(EnvFilter::new(&filter.0));
        tracing::info!(message = message::RELOADED, filter = filter.0);
    }
}

impl Log {
    /// Starts logging, for the rest of the process.
    ///
    /// # Errors
    ///
    /// When something logs already, which happens only if this is called twice.
    pub fn start(&self) -> Result<Filtering, TryInitError> {
        let pretty = match self.format {
            Format::Auto => io::stdout().is_terminal(),
            Format::Json => false,
            Format::Pretty => true,
        };
        let lines = tracing_subscriber::fmt::layer().with_ansi(io::stdout().is_terminal());
        let lines = if pretty {
            lines.boxed()
        } else {
            lines
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .boxed()
        };
        let (filter, handle) = reload::Layer::new(EnvFilter::new(&self.filter.0));
        super::panics::log();
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .try_init()?;
        Ok(Filtering(handle))
    }
}
