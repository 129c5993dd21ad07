//! Events as JSON, one object per line: `timestamp`, `level`, `target`, and then the event's fields in its own order,
//! followed by those of its spans, innermost first.
//!
//! Names in an object are unique: of several fields with the same name, the first one is kept. No value can end its
//! string or its line.
//!
//! A line costs a fifth of one by `fmt().json()`. The parts that all events of a callsite share are formatted once,
//! and the fields of a span when they are recorded. Each thread reuses its line buffer.

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::writer::Writer;
use crate::context::RequestContext;

/// The layer that formats each event, and appends the line to the writer.
pub(super) struct Json(pub(super) &'static Writer);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Json {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let fields = Line::of_span(attributes.metadata(), |fields| attributes.record(fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Formatting a value may log an event, which reads this span: format before the lock.
        let more = Line::of_span(span.metadata(), |fields| values.record(fields));
        if let Some(fields) = span.extensions_mut().get_mut::<Line>() {
            fields.append_new(&more);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        Formatter::with(|formatter| {
            formatter.begin(SystemTime::now());
            let Formatter {
                line, callsites, ..
            } = formatter;
            let callsite = Callsite::find_or_add(callsites, event.metadata());
            line.text.push_str(&callsite.head);
            event.record(&mut Fields { line, callsite });
            for span in context.event_scope(event).into_iter().flatten() {
                if let Some(fields) = span.extensions().get::<Line>() {
                    line.append_new(fields);
                }
            }
            line.append_request_ids();
            line.text.push_str("}\n");
            self.0.append(line.text.as_bytes());
        });
    }
}

/// The buffer and the caches of a thread, which it reuses for each line.
#[derive(Default)]
struct Formatter {
    line: Line,
    /// The callsites that this thread has logged at, the most recent one first.
    callsites: Vec<Callsite>,
    /// The second of the last line, and the start of a line in that second: `{"timestamp":"2026-11-21T18:30:00.`
    second: Duration,
    date: String,
}

thread_local! {
    static FORMATTER: Cell<Option<Box<Formatter>>> = const { Cell::new(None) };
}

impl Formatter {
    fn with(work: impl FnOnce(&mut Self)) {
        /// The most bytes of capacity that the buffer keeps for the next line.
        const MAX_KEPT: usize = 16 << 10;
        // Formatting a value may log another event. It finds the cell empty, and uses a new formatter.
        let kept = FORMATTER.try_with(Cell::take).ok().flatten();
        let mut formatter = kept.unwrap_or_default();
        work(&mut formatter);
        if formatter.line.text.capacity() > MAX_KEPT {
            formatter.line.text = String::new();
        }
        _ = FORMATTER.try_with(|kept| kept.set(Some(formatter)));
    }

    /// Begins a line, up to the last digit of its timestamp.
    fn begin(&mut self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = Duration::from_secs(since.as_secs());
        if second != self.second || self.date.is_empty() {
            self.second = second;
            self.date = String::from(r#"{"timestamp":""#);
            let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + second);
            // It fails beyond the year 9999.
            _ = write!(self.date, "{date}");
            self.date.pop();
            self.date.push('.');
        }
        let Line { text, names } = &mut self.line;
        names.clear();
        text.clear();
        text.push_str(&self.date);
        // The millions give seven digits, so that the last six keep their leading zeros.
        let micros = 1_000_000 + since.subsec_micros();
        text.push_str(&itoa::Buffer::new().format(micros)[1..]);
    }
}

/// The formatted fields of a span, or the line of an event: its beginning and its fields.
#[derive(Default)]
struct Line {
    text: String,
    /// The names of the fields, and the offset of each in the text.
    names: Vec<(&'static str, usize)>,
}

impl Line {
    fn of_span(metadata: &'static Metadata<'static>, record: impl FnOnce(&mut Fields<'_>)) -> Self {
        let mut line = Self::default();
        Formatter::with(|formatter| {
            record(&mut Fields {
                line: &mut line,
                callsite: Callsite::find_or_add(&mut formatter.callsites, metadata),
            });
        });
        line
    }

    /// Appends the fields of another line whose names this line does not have.
    fn append_new(&mut self, other: &Self) {
        let ends = other.names.iter().skip(1).map(|(_, begin)| *begin);
        let ends = ends.chain([other.text.len()]);
        for ((name, begin), end) in other.names.iter().zip(ends) {
            if self.add_name(name) {
                self.text.push_str(&other.text[*begin..end]);
            }
        }
    }

    fn append_request_ids(&mut self) {
        RequestContext::with(|request| {
            self.append("request_id", || request.id.as_str());
            if let Some(trace) = request.trace.as_ref().filter(|trace| trace.is_sampled) {
                self.append("trace_id", || &trace.id);
            }
        });
    }

    fn append<'a>(&mut self, name: &'static str, value: impl FnOnce() -> &'a str) {
        if self.add_name(name) {
            self.text.extend([",\"", name, "\":"]);
            quote(&mut self.text, value());
        }
    }

    /// Adds the name of a field that begins here. Returns false if the line already has such a field.
    fn add_name(&mut self, name: &'static str) -> bool {
        let is_new = self.names.iter().all(|(known, _)| *known != name);
        if is_new {
            self.names.push((name, self.text.len()));
        }
        is_new
    }
}

/// Formats the fields of an event or a span.
struct Fields<'a> {
    line: &'a mut Line,
    callsite: &'a Callsite,
}

impl Fields<'_> {
    fn append(&mut self, field: &Field, format_value: impl FnOnce(&mut String)) {
        if let Some((name, prefix)) = &self.callsite.fields[field.index()] {
            let Line { text, names } = &mut *self.line;
            names.push((name, text.len()));
            text.push_str(prefix);
            format_value(text);
        }
    }

    /// Appends a field whose value needs no quotes in JSON.
    fn append_unquoted(&mut self, field: &Field, value: &str) {
        self.append(field, |text| text.push_str(value));
    }
}

impl Visit for Fields<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.append_unquoted(field, if value { "true" } else { "false" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.append_unquoted(field, itoa::Buffer::new().format(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.append_unquoted(field, itoa::Buffer::new().format(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.append_unquoted(field, zmij::Buffer::new().format_finite(value));
        } else {
            // JSON has no infinity and no NaN.
            self.append_unquoted(field, "null");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.append(field, |text| quote(text, value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &with_sources(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.append(field, |text| {
            text.push('"');
            // If the value fails to format, the line keeps the part before the failure.
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

/// The parts that all lines of one callsite share.
struct Callsite {
    metadata: &'static Metadata<'static>,
    /// The part of a line between the digits of the timestamp and the fields.
    head: String,
    /// For each field, its name and the text before its value. `None` if an earlier field has the same name.
    fields: Vec<Option<(&'static str, String)>>,
}

impl Callsite {
    fn find_or_add<'a>(known: &'a mut Vec<Self>, metadata: &'static Metadata<'static>) -> &'a Self {
        let index = known.iter().position(|it| ptr::eq(it.metadata, metadata));
        let index = index.unwrap_or_else(|| {
            known.push(Self::new(metadata));
            known.len() - 1
        });
        known.swap(0, index);
        &known[0]
    }

    fn new(metadata: &'static Metadata<'static>) -> Self {
        let mut head = format!(r#"Z","level":"{}","target":"#, metadata.level());
        quote(&mut head, metadata.target());
        let mut fields: Vec<Option<(_, String)>> = Vec::new();
        for field in metadata.fields() {
            let name = key(field.name());
            let is_known = fields.iter().flatten().any(|(known, _)| *known == name);
            let mut prefix = ",".to_owned();
            quote(&mut prefix, name);
            prefix.push(':');
            fields.push((!is_known).then_some((name, prefix)));
        }
        Self {
            metadata,
            head,
            fields,
        }
    }
}

/// The name of a field in the JSON object.
fn key(name: &'static str) -> &'static str {
    match name.strip_prefix("r#").unwrap_or(name) {
        "timestamp" => "timestamp_",
        "level" => "level_",
        "target" => "target_",
        name => name,
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    append_escaped(out, text);
    out.push('"');
}

/// Appends text to a JSON string, escaped for JSON and for terminals.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        append_escaped(self.0, text);
        Ok(())
    }
}

fn append_escaped(out: &mut String, text: &str) {
    // `fold` has no branch for each byte, as `any` would.
    let is_special = |any, byte| any | IS_SPECIAL[usize::from(byte)];
    if text.bytes().fold(false, is_special) {
        append_each_escaped(out, text);
    } else {
        out.push_str(text);
    }
}

#[cold]
fn append_each_escaped(out: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            // Some readers end a line at U+2028 and U+2029. Writing to a string does not fail.
            char if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => {
                _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            char => out.push(char),
        }
    }
}

/// Whether a character that begins with this byte may need an escape. A lookup is faster than comparisons.
const IS_SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte, 0..0x20 | 0x22 | 0x5c | 0x7f | 0xc2 | 0xe2);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests;
