//! Events as JSON, one object a line: `timestamp`, `level`, `target`, `message`, and then the event's
//! fields, flat, in its own order, followed by those of the spans around it, from the inside out.
//!
//! A name stands in an object once. A field that is called like one of the first three gets an
//! underscore behind its name; of several with the same name, the first counts. The fields of a span
//! are put into words once, and not for each event. Whatever a value
//! contains, it neither ends the line nor the string that it stands in.
//!
//! What all events of one place in the code have in common is put into words once.

mod form;
mod quoted;

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::iter;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::message;
use super::writer::Writer;
use crate::context::Context as Request;
use form::{Form, head};
use quoted::{Quoted, begin_field, quote};

/// The layer that hands each event to the writer.
pub(super) struct Json(pub(super) Writer);

thread_local! {
    /// The room in which this thread's lines are made, one after the other.
    static LINE: Cell<Line> = Cell::default();
}

/// What a line may leave behind for the next one; one that was longer gives its room back.
const KEPT: usize = 16 << 10;

/// What an event inside of a span has besides.
struct Around(Line);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Json {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut line = Line::default();
        line.fields(attributes.metadata(), |fields| attributes.record(fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Around(line));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        // A value may log something while it is put into words, which then looks at this span.
        let mut more = Line::default();
        more.fields(span.metadata(), |fields| values.record(fields));
        if let Some(Around(line)) = span.extensions_mut().get_mut() {
            line.join(&more);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // While a value is put into words, it may log something itself: that finds an empty place.
        let mut line = LINE.try_with(Cell::take).unwrap_or_default();
        line.tell(event);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Around(fields)) = span.extensions().get() {
                line.join(fields);
            }
        }
        line.end();
        self.0.append(line.text.as_bytes());
        if line.text.capacity() <= KEPT {
            _ = LINE.try_with(|place| place.set(line));
        }
    }
}

/// The line that tells how many others are missing.
pub(super) fn lost(lines: u64) -> String {
    let mut line = Line::default();
    line.begin(SystemTime::now(), &head(Level::WARN, module_path!()));
    line.name("message");
    line.quote(message::LOST);
    line.name("lost");
    line.integer(lines);
    line.close();
    line.text
}

#[derive(Default)]
struct Line {
    text: String,
    /// The fields that it has, and where each begins.
    names: Vec<(&'static str, usize)>,
    /// The second in which the last line was made, and how it is written: `2026-11-21T18:30:00`.
    second: Duration,
    date: String,
}

impl Line {
    fn tell(&mut self, event: &Event<'_>) {
        let form = Form::of(event.metadata());
        self.begin(SystemTime::now(), &form.head);
        // The message is the first field wherever the macros of `tracing` put it.
        let passes: &[_] = match form.message {
            None | Some(0) => &[Wanted::All],
            Some(_) => &[Wanted::Message, Wanted::Others],
        };
        for wanted in passes {
            event.record(&mut Fields {
                line: self,
                form: &form,
                wanted: *wanted,
            });
        }
    }

    /// Takes down the fields of a span.
    fn fields(&mut self, of: &'static Metadata<'static>, record: impl FnOnce(&mut Fields<'_>)) {
        record(&mut Fields {
            line: self,
            form: &Form::of(of),
            wanted: Wanted::Others,
        });
    }

    /// The fields of another line, as far as they are not here already.
    fn join(&mut self, fields: &Self) {
        let ends = fields.names.iter().skip(1).map(|(_, begin)| *begin);
        let ends = ends.chain([fields.text.len()]);
        for ((name, begin), end) in fields.names.iter().zip(ends) {
            if !self.has(name) {
                self.names.push((name, self.text.len()));
                self.text.push_str(&fields.text[*begin..end]);
            }
        }
    }

    fn end(&mut self) {
        // Whatever is told while a request is at hand can be found by it.
        Request::with(|request| {
            if self.name("request_id") {
                self.quote(request.id.as_ref());
            }
            if let Some(trace) = &request.trace
                && trace.is_sampled()
                && self.name("trace_id")
            {
                self.quote(trace.id());
            }
        });
        self.close();
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
        // Of seven digits, the first is there for the zeros behind it.
        let micros = 1_000_000 + since.subsec_micros();
        self.text.push_str(&itoa::Buffer::new().format(micros)[1..]);
        self.text.push_str(head);
    }

    fn close(&mut self) {
        self.text.push_str("}\n");
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|(had, _)| *had == name)
    }

    /// Begins a field; not if there is one of this name.
    fn name(&mut self, name: &'static str) -> bool {
        let new = !self.has(name);
        if new {
            self.names.push((name, self.text.len()));
            begin_field(&mut self.text, name);
        }
        new
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        self.text.push_str(itoa::Buffer::new().format(value));
    }

    fn quote(&mut self, text: &str) {
        quote(&mut self.text, text);
    }

    /// A string, of whatever is written into it. What cannot be put into words ends where it fails.
    fn quoted(&mut self, write: impl FnOnce(&mut Quoted<'_>) -> fmt::Result) {
        self.text.push('"');
        _ = write(&mut Quoted::new(&mut self.text));
        self.text.push('"');
    }
}

/// Takes down fields.
struct Fields<'a> {
    line: &'a mut Line,
    form: &'a Form,
    wanted: Wanted,
}

#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    All,
    Message,
    Others,
}

impl Fields<'_> {
    fn begin(&mut self, field: &Field) -> bool {
        let is_message = || self.form.message == Some(field.index());
        let is_wanted = match self.wanted {
            Wanted::All => true,
            Wanted::Message => is_message(),
            Wanted::Others => !is_message(),
        };
        let (name, before) = &self.form.names[field.index()];
        let new = is_wanted && !(self.form.has_twins && self.line.has(name));
        if new {
            self.line.names.push((name, self.line.text.len()));
            self.line.text.push_str(before);
        }
        new
    }

    fn integer(&mut self, field: &Field, value: impl itoa::Integer) {
        if self.begin(field) {
            self.line.integer(value);
        }
    }

    /// What is written in JSON as it is in Rust.
    fn verbatim(&mut self, field: &Field, value: &str) {
        if self.begin(field) {
            self.line.text.push_str(value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.verbatim(field, if value { "true" } else { "false" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.integer(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.integer(field, value);
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
        if self.begin(field) {
            self.line.quote(value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if self.begin(field) {
            self.line.quoted(|quoted| with_sources(quoted, value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.begin(field) {
            self.line.quoted(|quoted| write!(quoted, "{value:?}"));
        }
    }
}

/// An error, and what is behind it.
pub(super) fn with_sources(out: &mut impl Write, error: &(dyn Error + 'static)) -> fmt::Result {
    write!(out, "{error}")?;
    iter::successors(error.source(), |error| (*error).source())
        .try_for_each(|source| write!(out, ": {source}"))
}

#[cfg(test)]
mod tests;
