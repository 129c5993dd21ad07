//! Takes down the spans of requests that are followed, and hands them on when they have ended.
//!
//! A span belongs to a trace if one around it does, or if the request does that it is made for: so also
//! in another task, as long as that has the request's [`Context`](crate::context::Context).
//! All others cost a look.

use std::fmt::{self, Debug, Write};
use std::mem;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Span, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::queue::{Ended, Kind, Queue, Value};
use crate::context::{Trace, any_span};
use crate::telemetry::span;

/// The most attributes that a span has.
const ATTRIBUTES: usize = 32;

/// The longest text of one, in bytes.
const LONGEST: usize = 1024;

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct Spans(pub(super) Arc<Queue>);

/// A span that has not ended.
struct Open {
    trace: Arc<Trace>,
    id: u64,
    parent: Option<u64>,
    begin: SystemTime,
    since: Instant,
    fields: Fields,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let about = attributes.metadata();
        let above = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            let open = extensions.get::<Open>()?;
            Some((any_span(), Some(open.id), Arc::clone(&open.trace)))
        });
        let of_request = || {
            let trace = Trace::current_sampled()?;
            Some(if is_of_machinery(about) && about.name() == span::REQUEST {
                (trace.span(), trace.parent(), trace)
            } else {
                (any_span(), Some(trace.span()), trace)
            })
        };
        let Some((id, parent, trace)) = above.or_else(of_request) else {
            return;
        };
        let mut fields = Fields::of(about);
        attributes.record(&mut fields);
        span.extensions_mut().insert(Open {
            trace,
            id,
            parent,
            begin: SystemTime::now(),
            since: Instant::now(),
            fields,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if span.extensions().get::<Open>().is_none() {
            return;
        }
        // A value may log something while it is put into words: not while the span is locked.
        let mut more = Fields::of(span.metadata());
        values.record(&mut more);
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            open.fields.join(more);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let open = context
            .span(&id)
            .and_then(|span| Some((span.metadata(), span.extensions_mut().remove::<Open>()?)));
        if let Some((about, open)) = open {
            self.0.push(open.ended(about));
        }
    }
}

impl Open {
    fn ended(self, about: &'static Metadata<'static>) -> Ended {
        let kind = match about.name() {
            span::REQUEST if is_of_machinery(about) => Kind::Server,
            span::STATEMENT if is_of_machinery(about) => Kind::Client,
            _ => Kind::Internal,
        };
        let fields = self.fields;
        let name = match kind {
            Kind::Server => {
                let [method, route] =
                    ["http.request.method", "http.route"].map(|it| fields.text(it));
                format!("{method} {route}")
            }
            Kind::Client => fields.text("db.query.summary").to_owned(),
            Kind::Internal => about.name().to_owned(),
        };
        Ended {
            trace: self.trace.digits(),
            id: self.id,
            parent: self.parent,
            parent_is_remote: kind == Kind::Server,
            name,
            kind,
            begin: self.begin,
            // By a clock that nobody sets.
            end: self.begin + self.since.elapsed(),
            failed: fields.all.iter().any(|(name, _)| *name == ERROR),
            attributes: fields.all,
            dropped_attributes: fields.dropped,
        }
    }
}

/// What says that something has failed, and how.
const ERROR: &str = "error.type";

fn is_of_machinery(about: &Metadata<'_>) -> bool {
    let inside = about.target().strip_prefix(env!("CARGO_CRATE_NAME"));
    inside.is_some_and(|path| path.starts_with("::"))
}

/// What a field of the machinery's own spans is called in OpenTelemetry's conventions.
fn conventional(field: &'static str) -> &'static str {
    match field {
        "method" => "http.request.method",
        "route" => "http.route",
        "status" => "http.response.status_code",
        "system" => "db.system.name",
        "operation" => "db.operation.name",
        "summary" => "db.query.summary",
        "file" => "code.file.path",
        "line" => "code.line.number",
        "error" => ERROR,
        field => field,
    }
}

/// The fields of a span, as attributes.
struct Fields {
    of_machinery: bool,
    all: Vec<(&'static str, Value)>,
    dropped: u32,
}

impl Fields {
    fn of(about: &Metadata<'_>) -> Self {
        Self {
            of_machinery: is_of_machinery(about),
            all: Vec::new(),
            dropped: 0,
        }
    }

    fn text(&self, name: &str) -> &str {
        let value = self.all.iter().find(|(named, _)| *named == name);
        match value {
            Some((_, Value::Text(text))) => text,
            _ => "",
        }
    }

    fn join(&mut self, more: Self) {
        for (name, value) in more.all {
            self.put(name, value);
        }
    }

    /// The last one of a name counts.
    fn put(&mut self, name: &'static str, value: Value) {
        if let Some((_, old)) = self.all.iter_mut().find(|(old, _)| *old == name) {
            *old = value;
        } else if self.all.len() < ATTRIBUTES {
            self.all.push((name, value));
        } else {
            self.dropped += 1;
        }
    }

    fn take(&mut self, field: &Field, value: Value) {
        match field.name() {
            // The span says that in its own place.
            "trace_id" if self.of_machinery => {}
            "error" => self.put(ERROR, value),
            name if self.of_machinery => self.put(conventional(name), value),
            name => self.put(name.strip_prefix("r#").unwrap_or(name), value),
        }
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, Value::Flag(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, Value::Whole(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match value.try_into() {
            Ok(value) => self.take(field, Value::Whole(value)),
            Err(_) => self.record_debug(field, &value),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, Value::Number(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Short(String::new());
        // It fails where it has become long enough.
        _ = write!(text, "{value:?}");
        self.take(field, Value::Text(mem::take(&mut text.0)));
    }
}

/// Text that is cut where it gets too long.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}

/// What the span is called that this code runs in, if it is one that is exported.
#[must_use]
pub(crate) fn current_span() -> Option<u64> {
    let called = Span::current().with_subscriber(|(id, dispatch)| {
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        // The nearest one: others in between may have been left out by the log's filter.
        span.scope()
            .find_map(|span| span.extensions().get::<Open>().map(|open| open.id))
    });
    called.flatten()
}

#[cfg(test)]
mod tests;
