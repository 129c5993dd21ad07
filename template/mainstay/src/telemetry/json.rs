//! Events as JSON, one object a line: `timestamp`, `level`, `target`, and then the event's fields, flat, in
//! its own order, followed by those of its spans, innermost first. The macros of `tracing` put the message
//! first.
//!
//! A name stands in an object once. A field that is called like one of the first three gets an
//! underscore behind its name; of several with the same name, the first counts. No value can end its
//! string or its line.
//!
//! A line costs a fifth of one by `fmt().json()`: what all events of a callsite have in common is
//! formatted once, the fields of a span when they are recorded, and the buffer of a line is kept for
//! the next one of the thread.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{iter, ptr};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::message;
use super::writer::Writer;
use crate::context::Context as Request;

/// The layer that gives each event to the writer.
pub(super) struct Json(pub(super) Writer);

thread_local! {
    /// The buffer of this thread's lines.
    static LINE: Cell<Line> = Cell::default();
}

/// The capacity that a line may keep for the next one.
const KEPT: usize = 16 << 10;

/// The formatted fields of a span.
struct SpanFields(Line);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Json {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut line = Line::default();
        line.format_fields(attributes.metadata(), |fields| attributes.record(fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(line));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        // Formatting a value may log an event, which reads this span: format before the lock.
        let mut more = Line::default();
        more.format_fields(span.metadata(), |fields| values.record(fields));
        if let Some(SpanFields(line)) = span.extensions_mut().get_mut() {
            line.append_new(&more);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // Formatting a value may log an event itself, which then takes an empty line.
        let mut line = LINE.try_with(Cell::take).unwrap_or_default();
        line.format_event(event);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.append_new(fields);
            }
        }
        line.append_request();
        line.end();
        self.0.append(line.text.as_bytes());
        if line.text.capacity() <= KEPT {
            _ = LINE.try_with(|kept| kept.set(line));
        }
    }
}

/// The line that reports how many others were dropped.
pub(super) fn loss(lines: u64) -> String {
    let mut line = Line::default();
    line.begin(SystemTime::now(), &head(Level::WARN, module_path!()));
    line.begin_field("message");
    quote(&mut line.text, message::LOST);
    line.begin_field("lost");
    line.text.push_str(itoa::Buffer::new().format(lines));
    line.end();
    line.text
}

#[derive(Default)]
struct Line {
    text: String,
    /// The names of the fields, and where each begins.
    names: Vec<(&'static str, usize)>,
    /// The second of the last line, and its date: `2026-11-21T18:30:00`.
    second: Duration,
    date: String,
}

impl Line {
    fn format_event(&mut self, event: &Event<'_>) {
        let callsite = Callsite::of(event.metadata());
        self.begin(SystemTime::now(), &callsite.head);
        event.record(&mut Fields {
            line: self,
            callsite: &callsite,
        });
    }

    fn format_fields(
        &mut self,
        metadata: &'static Metadata<'static>,
        record: impl FnOnce(&mut Fields<'_>),
    ) {
        record(&mut Fields {
            line: self,
            callsite: &Callsite::of(metadata),
        });
    }

    /// Appends the fields of another line whose names are new.
    fn append_new(&mut self, other: &Self) {
        let ends = other.names.iter().skip(1).map(|(_, begin)| *begin);
        let ends = ends.chain([other.text.len()]);
        for ((name, begin), end) in other.names.iter().zip(ends) {
            if !self.has(name) {
                self.names.push((name, self.text.len()));
                self.text.push_str(&other.text[*begin..end]);
            }
        }
    }

    /// Appends the id of the current request, and of its trace.
    fn append_request(&mut self) {
        Request::with(|request| {
            if self.begin_field("request_id") {
                quote(&mut self.text, request.id.as_ref());
            }
            if let Some(trace) = request.trace.as_ref().filter(|trace| trace.is_sampled())
                && self.begin_field("trace_id")
            {
                quote(&mut self.text, trace.id());
            }
        });
    }

    fn begin(&mut self, now: SystemTime, head: &str) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = Duration::from_secs(since.as_secs());
        if second != self.second || self.date.is_empty() {
            self.second = second;
            self.date.clear();
            // It fails beyond the year 9999.
            let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + second);
            _ = write!(self.date, "{date}");
            self.date.pop();
        }
        self.names.clear();
        self.text.clear();
        self.text.push_str(r#"{"timestamp":""#);
        self.text.push_str(&self.date);
        self.text.push('.');
        // The first of seven digits keeps the leading zeros of the others.
        let micros = 1_000_000 + since.subsec_micros();
        self.text.push_str(&itoa::Buffer::new().format(micros)[1..]);
        self.text.push_str(head);
    }

    fn end(&mut self) {
        self.text.push_str("}\n");
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|(known, _)| *known == name)
    }

    /// Begins a field, unless there is one of this name.
    fn begin_field(&mut self, name: &'static str) -> bool {
        let is_new = !self.has(name);
        if is_new {
            self.names.push((name, self.text.len()));
            push_prefix(&mut self.text, name);
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
    /// Formats one field, unless there is one of its name.
    fn field(&mut self, field: &Field, format_value: impl FnOnce(&mut String)) {
        let (name, prefix) = &self.callsite.fields[field.index()];
        if !(self.callsite.has_twins && self.line.has(name)) {
            self.line.names.push((name, self.line.text.len()));
            self.line.text.push_str(prefix);
            format_value(&mut self.line.text);
        }
    }

    /// Formats a field whose value is the same in JSON as in Rust.
    fn verbatim(&mut self, field: &Field, value: &str) {
        self.field(field, |text| text.push_str(value));
    }
}

impl Visit for Fields<'_> {
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
        self.field(field, |text| quote(text, value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.field(field, |text| {
            quote_formatted(text, format_args!("{}", WithSources(value)));
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |text| {
            quote_formatted(text, format_args!("{value:?}"));
        });
    }
}

/// An error, followed by its sources.
pub(super) struct WithSources<'a>(pub(super) &'a (dyn Error + 'static));

impl fmt::Display for WithSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        iter::successors(self.0.source(), |error| (*error).source())
            .try_for_each(|source| write!(f, ": {source}"))
    }
}

/// What all lines of one callsite have in common.
struct Callsite {
    metadata: &'static Metadata<'static>,
    /// The beginning of a line, from behind the digits of the timestamp.
    head: String,
    /// The name of each field, and what stands before its value.
    fields: Vec<(&'static str, String)>,
    /// Two fields have the same name.
    has_twins: bool,
}

thread_local! {
    /// The callsites that this thread has passed, the last one first.
    static CALLSITES: RefCell<Vec<Rc<Callsite>>> = const { RefCell::new(Vec::new()) };
}

impl Callsite {
    fn of(metadata: &'static Metadata<'static>) -> Rc<Self> {
        let known = CALLSITES.try_with(|known| {
            let mut known = known.borrow_mut();
            let is_same = |it: &Rc<Self>| ptr::eq(it.metadata, metadata);
            let place = known.iter().position(is_same).unwrap_or_else(|| {
                known.push(Rc::new(Self::new(metadata)));
                known.len() - 1
            });
            known.swap(0, place);
            Rc::clone(&known[0])
        });
        // A thread that ends has no place for it.
        known.unwrap_or_else(|_| Rc::new(Self::new(metadata)))
    }

    fn new(metadata: &'static Metadata<'static>) -> Self {
        let names: Vec<_> = metadata.fields().iter().map(|it| key(it.name())).collect();
        let is_twin = |(index, name)| names[..index].contains(name);
        let with_prefix = |name| {
            let mut prefix = String::new();
            push_prefix(&mut prefix, name);
            (name, prefix)
        };
        Self {
            metadata,
            head: head(*metadata.level(), metadata.target()),
            has_twins: names.iter().enumerate().any(is_twin),
            fields: names.into_iter().map(with_prefix).collect(),
        }
    }
}

fn head(level: Level, target: &str) -> String {
    let mut text = format!(r#"Z","level":"{level}","target":"#);
    quote(&mut text, target);
    text
}

/// The name of a field in a line.
fn key(name: &'static str) -> &'static str {
    match name.strip_prefix("r#").unwrap_or(name) {
        "timestamp" => "timestamp_",
        "level" => "level_",
        "target" => "target_",
        name => name,
    }
}

/// Appends what stands before the value of a field.
fn push_prefix(out: &mut String, name: &str) {
    out.push(',');
    quote(out, name);
    out.push(':');
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    // Writing to a string does not fail.
    _ = Escaped(out).write_str(text);
    out.push('"');
}

/// Appends a formatted value as a string. A value whose format fails ends where it fails.
fn quote_formatted(out: &mut String, value: fmt::Arguments<'_>) {
    out.push('"');
    _ = Escaped(out).write_fmt(value);
    out.push('"');
}

/// Appends to a string of JSON, escaped for JSON and for terminals.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Without a branch for each byte.
        let has_special = text.bytes().fold(false, |any, byte| any | is_special(byte));
        if !has_special {
            self.0.push_str(text);
            return Ok(());
        }
        self.escape(text)
    }
}

/// Whether a character that begins with this byte may need an escape.
fn is_special(byte: u8) -> bool {
    byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f | 0xc2 | 0xe2)
}

impl Escaped<'_> {
    #[cold]
    fn escape(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, char) in text.char_indices() {
            // Some readers end a line at the last two.
            let is_escaped =
                char.is_control() || matches!(char, '"' | '\\' | '\u{2028}' | '\u{2029}');
            if !is_escaped {
                continue;
            }
            self.0.push_str(&text[plain..at]);
            plain = at + char.len_utf8();
            match char {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                char => write!(self.0, "\\u{:04x}", u32::from(char))?,
            }
        }
        self.0.push_str(&text[plain..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
