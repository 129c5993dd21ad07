//! The exported spans: those of sampled requests.
//!
//! A span belongs to a trace if it is created inside of an exported span, or while the task has the
//! [`RequestContext`](crate::context::RequestContext) of a sampled request. Other spans are ignored. Events are not
//! exported: they are in the log, with the trace id.

use std::fmt::Debug;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::{SPANS_ENDED, SPANS_LOST};
use crate::context::{Trace, any_span};
use crate::telemetry::span;

/// The most bytes of an attribute's text. The rest is cut off.
pub(super) const LONGEST: usize = 1024;

/// The attribute that marks a span as failed.
const ERROR: &str = "error.type";

/// The layer that records spans, and puts each into the queue when it ends. It never blocks.
#[derive(Debug)]
pub(crate) struct Spans(pub(super) mpsc::Sender<Span>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let (name, is_own) = (attributes.metadata().name(), is_own(attributes.metadata()));
        let kind = match name {
            span::REQUEST if is_own => SpanKind::Server,
            span::STATEMENT if is_own => SpanKind::Client,
            _ => SpanKind::Internal,
        };
        let bytes = |id: u64| id.to_be_bytes().to_vec();
        // The innermost exported span around this one.
        let around = span.scope().find_map(|span| {
            let extensions = span.extensions();
            let exported: &Span = extensions.get()?;
            Some((exported.trace_id.clone(), exported.span_id.clone()))
        });
        let (trace_id, span_id, parent_span_id) = match (around, Trace::current_sampled()) {
            // The request already has a span id. Its parent is the span of the client.
            (_, Some(trace)) if kind == SpanKind::Server => {
                let parent = trace.parent.map(bytes).unwrap_or_default();
                (trace_id(&trace), bytes(trace.span), parent)
            }
            (Some((trace_id, parent)), _) => (trace_id, bytes(any_span()), parent),
            (None, Some(trace)) => (trace_id(&trace), bytes(any_span()), bytes(trace.span)),
            (None, None) => return,
        };
        let mut fields = Fields(Vec::new(), is_own);
        attributes.record(&mut fields);
        let text = |name| fields.text(name);
        let name = match kind {
            SpanKind::Server => format!("{} {}", text("http.request.method"), text("http.route")),
            SpanKind::Client => format!("{} {}", text("db.system.name"), text("code.file.path")),
            _ => name.to_owned(),
        };
        let mut exported = Span {
            trace_id,
            span_id,
            parent_span_id,
            flags: 1, // sampled
            name,
            kind: kind.into(),
            start_time_unix_nano: now(),
            ..Span::default()
        };
        fields.add_to(&mut exported);
        span.extensions_mut().insert(exported);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Formatting a value may log an event, which reads this span: format before the lock.
        let mut fields = Fields(Vec::new(), is_own(span.metadata()));
        values.record(&mut fields);
        if let Some(data) = span.extensions_mut().get_mut() {
            fields.add_to(data);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id);
        let ended = span.and_then(|span| span.extensions_mut().remove::<Span>());
        if let Some(mut ended) = ended {
            ended.end_time_unix_nano = now();
            SPANS_ENDED.fetch_add(1, Ordering::Relaxed);
            if self.0.try_send(ended).is_err() {
                SPANS_LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn is_own(metadata: &Metadata<'_>) -> bool {
    let machinery = concat!(env!("CARGO_CRATE_NAME"), "::");
    metadata.target().starts_with(machinery)
}

fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since_1970.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

fn trace_id(trace: &Trace) -> Vec<u8> {
    let id = u128::from_str_radix(&trace.id, 16);
    id.unwrap_or_default().to_be_bytes().to_vec()
}

/// The fields of a span as attributes. The flag marks a span of this crate, whose fields get OpenTelemetry's names.
struct Fields(Vec<KeyValue>, bool);

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        let Self(attributes, is_own) = self;
        let name = match field.name().trim_start_matches("r#") {
            "error" => ERROR,
            name if !*is_own => name,
            "trace_id" => return, // a span has it outside of its attributes
            "method" => "http.request.method",
            "route" => "http.route",
            "status" => "http.response.status_code",
            "system" => "db.system.name",
            "file" => "code.file.path",
            "line" => "code.line.number",
            name => name,
        };
        attributes.push(attribute(name, value));
    }

    fn text(&self, name: &str) -> &str {
        let field = self.0.iter().find(|it| it.key == name);
        match field.and_then(|it| it.value.as_ref()?.value.as_ref()) {
            Some(Value::StringValue(text)) => text,
            _ => "",
        }
    }

    fn add_to(self, span: &mut Span) {
        for new in self.0 {
            if new.key == ERROR {
                let status = span.status.get_or_insert_default();
                status.set_code(StatusCode::Error);
            }
            span.attributes.retain(|known| known.key != new.key);
            span.attributes.push(new);
        }
    }
}

pub(super) fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::BoolValue(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::IntValue(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record_i64(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::DoubleValue(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let end = value.floor_char_boundary(LONGEST);
        self.push(field, Value::StringValue(value[..end].to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
