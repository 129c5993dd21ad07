//! Events as text for a person: `tracing_subscriber`'s lines, with fields of our own, in which
//! nothing that a value contains ends the line or does anything to the terminal.

use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use super::json::with_sources;
use super::message;

/// How the message and the fields of an event are written.
pub(super) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, to: Writer<'writer>, fields: R) -> fmt::Result {
        let mut words = Words {
            to,
            first: true,
            result: Ok(()),
        };
        fields.record(&mut words);
        words.result
    }
}

/// The line that tells how many others are missing.
pub(super) fn lost(lines: u64) -> String {
    let now = humantime::format_rfc3339_micros(SystemTime::now());
    let (target, message) = (module_path!(), message::LOST);
    format!("{now}  WARN {target}: {message} lost={lines}\n")
}

struct Words<'writer> {
    to: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl Words<'_> {
    fn tell(
        &mut self,
        field: &Field,
        value: impl FnOnce(&mut Harmless<'_, '_>) -> fmt::Result,
    ) -> fmt::Result {
        if !std::mem::take(&mut self.first) {
            self.to.write_char(' ')?;
        }
        let name = field.name();
        match name.strip_prefix("r#").unwrap_or(name) {
            "message" => {}
            name if self.to.has_ansi_escapes() => {
                write!(self.to, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?;
            }
            name => write!(self.to, "{name}=")?,
        }
        value(&mut Harmless(&mut self.to))
    }
}

impl Visit for Words<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if self.result.is_ok() {
            self.result = self.tell(field, |words| with_sources(words, value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_ok() {
            self.result = self.tell(field, |words| write!(words, "{value:?}"));
        }
    }
}

/// Writes a control character as Rust does: `\n`, `\u{1b}`.
struct Harmless<'a, 'writer>(&'a mut Writer<'writer>);

impl Write for Harmless<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, control) in text.match_indices(char::is_control) {
            self.0.write_str(&text[plain..at])?;
            write!(self.0, "{}", control.escape_default())?;
            plain = at + control.len();
        }
        self.0.write_str(&text[plain..])
    }
}

#[cfg(test)]
mod tests;
