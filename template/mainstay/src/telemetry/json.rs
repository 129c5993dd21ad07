//! Events as JSON, one object a line: `timestamp`, `level`, `target`, and then the event's fields in its own order,
//! followed by those of its spans, innermost first.
//!
//! A name stands in an object once: of several fields with the same name, the first counts. No value can end its
//! string or its line.
//!
//! Cheaper than `fmt().json()`: the fields of a span are formatted once, and a thread keeps the buffer of its last line.

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::writer::Writer;
use crate::context::RequestContext;

/// The layer that gives each event to the writer.
pub(super) struct Json(pub(super) &'static Writer);

thread_local! {
    static BUFFER: Cell<Line> = Cell::default();
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Json {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Line::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        // Formatting a value may log an event, which reads this span: format before the lock.
        let mut more = Line::default();
        values.record(&mut more);
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Line>()
        {
            fields.append_new(&more);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        /// The capacity that a buffer may keep for the next line.
        const KEPT: usize = 16 << 10;
        // Formatting a value may log an event itself, which then takes a new buffer.
        let mut line = BUFFER.try_with(Cell::take).unwrap_or_default();
        let (level, target) = (event.metadata().level(), event.metadata().target());
        line.begin(SystemTime::now());
        line.text
            .extend([",\"level\":\"", level.as_str(), "\",\"target\":"]);
        quote(&mut line.text, target);
        event.record(&mut line);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Line>() {
                line.append_new(fields);
            }
        }
        RequestContext::with(|request| {
            line.append("request_id", request.id.as_ref());
            if let Some(trace) = request.trace.as_ref().filter(|trace| trace.is_sampled) {
                line.append("trace_id", trace.id());
            }
        });
        line.text.push_str("}\n");
        self.0.append(line.text.as_bytes());
        if line.text.capacity() <= KEPT {
            _ = BUFFER.try_with(|buffer| buffer.set(line));
        }
    }
}

/// Formatted fields: those of a span, or those of an event behind the beginning of its line.
#[derive(Default)]
struct Line {
    text: String,
    /// The names of the fields, and where each begins.
    names: Vec<(&'static str, usize)>,
}

impl Line {
    /// Replaces the line by the beginning of another, with its timestamp.
    fn begin(&mut self, now: SystemTime) {
        self.names.clear();
        self.text.clear();
        self.text.push_str(r#"{"timestamp":""#);
        let now = humantime::format_rfc3339_micros(now.max(UNIX_EPOCH));
        // It fails beyond the year 9999.
        _ = write!(self.text, "{now}");
        self.text.push('"');
    }

    /// Appends the fields of another line whose names are new.
    fn append_new(&mut self, other: &Self) {
        let ends = other.names.iter().skip(1).map(|(_, begin)| *begin);
        let ends = ends.chain([other.text.len()]);
        for ((name, begin), end) in other.names.iter().zip(ends) {
            if self.is_new(name) {
                self.text.push_str(&other.text[*begin..end]);
            }
        }
    }

    fn append(&mut self, name: &'static str, value: &str) {
        self.append_with(name, |text| quote(text, value));
    }

    /// Appends a field whose name is new.
    fn append_with(&mut self, name: &'static str, format_value: impl FnOnce(&mut String)) {
        if self.is_new(name) {
            self.text.push(',');
            quote(&mut self.text, name);
            self.text.push(':');
            format_value(&mut self.text);
        }
    }

    /// Whether no field has this name; if so, it begins here.
    fn is_new(&mut self, name: &'static str) -> bool {
        let is_new = self.names.iter().all(|(known, _)| *known != name);
        if is_new {
            self.names.push((name, self.text.len()));
        }
        is_new
    }

    /// Appends a field whose value is the same in JSON as in Rust.
    fn verbatim(&mut self, field: &Field, value: &str) {
        self.append_with(key(field), |text| text.push_str(value));
    }
}

impl Visit for Line {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.verbatim(field, if value { "true" } else { "false" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.verbatim(field, itoa::Buffer::new().format(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.verbatim(field, itoa::Buffer::new().format(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.verbatim(field, zmij::Buffer::new().format_finite(value));
        } else {
            // JSON has no such numbers.
            self.verbatim(field, "null");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.append(key(field), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &with_sources(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.append_with(key(field), |text| {
            text.push('"');
            // A value whose format fails ends where it fails.
            _ = write!(Escaped(text), "{value:?}");
            text.push('"');
        });
    }
}

/// An error, followed by its sources.
pub(super) fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

/// The name of a field in a line.
fn key(field: &Field) -> &'static str {
    match field.name().trim_start_matches("r#") {
        "timestamp" => "timestamp_",
        "level" => "level_",
        "target" => "target_",
        name => name,
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    // Writing to a string does not fail.
    _ = Escaped(out).write_str(text);
    out.push('"');
}

/// Appends to a string of JSON, escaped for JSON and for terminals.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !text.bytes().any(is_special) {
            self.0.push_str(text);
            return Ok(());
        }
        for char in text.chars() {
            match char {
                '"' | '\\' => self.0.extend(['\\', char]),
                '\n' => self.0.push_str("\\n"),
                // Some readers end a line at the last two.
                char if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => {
                    write!(self.0, "\\u{:04x}", u32::from(char))?;
                }
                char => self.0.push(char),
            }
        }
        Ok(())
    }
}

/// Whether a character that begins with this byte may need an escape.
fn is_special(byte: u8) -> bool {
    byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f | 0xc2 | 0xe2)
}

#[cfg(test)]
mod tests;
