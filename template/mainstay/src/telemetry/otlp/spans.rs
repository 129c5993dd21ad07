//! The exported spans: those of sampled requests.
//!
//! A span belongs to a trace if it is made inside of an exported span, or while the task has the
//! [`Context`](crate::context::Context) of a sampled request. Other spans are ignored. Events are not
//! exported: they are in the log, with the trace id.

use std::fmt::Debug;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Span, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::{SPANS_ENDED, SPANS_LOST};
use crate::build_info::BuildInfo;
use crate::context::{Trace, any_span};
use crate::telemetry::span;

/// The bytes of an attribute's text.
pub(super) const LONGEST: usize = 1024;

/// The beginning of the targets of this crate.
const MACHINERY: &str = concat!(env!("CARGO_CRATE_NAME"), "::");

/// The attribute of a failed span.
const ERROR: &str = "error.type";

/// The layer that records spans, and puts each into the queue when it ends. It never blocks.
#[derive(Debug)]
pub(crate) struct Spans {
    queue: mpsc::Sender<SpanData>,
    scope: InstrumentationScope,
}

impl Spans {
    pub(super) fn new(queue: mpsc::Sender<SpanData>) -> Self {
        let scope = InstrumentationScope::builder(BuildInfo::current().name).build();
        Self { queue, scope }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let (name, is_own) = (attributes.metadata().name(), is_own(attributes.metadata()));
        let (trace, id, parent) = match (exported(&span), Trace::current_sampled()) {
            // The request has its id already, and its parent is the span of the sender.
            (_, Some(trace)) if is_own && name == span::REQUEST => {
                (trace_id(&trace), trace.span, trace.parent)
            }
            (Some((trace, parent)), _) => (trace, any_span(), Some(parent)),
            (None, Some(trace)) => (trace_id(&trace), any_span(), Some(trace.span)),
            (None, None) => return,
        };
        let (flags, state) = (TraceFlags::SAMPLED, TraceState::NONE);
        let now = SystemTime::now();
        let mut data = SpanData {
            span_context: SpanContext::new(trace, id.into(), flags, false, state),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: is_own && name == span::REQUEST && parent.is_some(),
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        };
        let mut fields = Fields(Vec::new(), is_own);
        attributes.record(&mut fields);
        fields.add_to(&mut data);
        let text = |name: &str| {
            let attribute = data.attributes.iter().find(|it| it.key.as_str() == name);
            attribute.map_or_else(String::new, |it| it.value.to_string())
        };
        if is_own && name == span::REQUEST {
            data.name = format!("{} {}", text("http.request.method"), text("http.route")).into();
            data.span_kind = SpanKind::Server;
        } else if is_own && name == span::STATEMENT {
            data.name = text("db.query.summary").into();
            data.span_kind = SpanKind::Client;
        }
        span.extensions_mut().insert(data);
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
        let Some(span) = context.span(&id) else {
            return;
        };
        let data = span.extensions_mut().remove::<SpanData>();
        if let Some(mut data) = data {
            data.end_time = SystemTime::now();
            SPANS_ENDED.fetch_add(1, Ordering::Relaxed);
            if self.queue.try_send(data).is_err() {
                SPANS_LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with(MACHINERY)
}

fn trace_id(trace: &Trace) -> TraceId {
    TraceId::from_hex(trace.id()).unwrap_or(TraceId::INVALID)
}

/// The ids of the innermost exported span of this one and those around it.
fn exported<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<(TraceId, u64)> {
    span.scope().find_map(|span| {
        let extensions = span.extensions();
        let context = &extensions.get::<SpanData>()?.span_context;
        let id = u64::from_be_bytes(context.span_id().to_bytes());
        Some((context.trace_id(), id))
    })
}

/// The id of the exported span that the calling code runs in.
pub(super) fn current_span() -> Option<u64> {
    let current = Span::current().with_subscriber(|(id, subscriber)| {
        let registry = subscriber.downcast_ref::<Registry>()?;
        exported(&registry.span(id)?).map(|(_, id)| id)
    });
    current.flatten()
}

/// The fields of a span as attributes. Those of this crate's spans get the names of OpenTelemetry's conventions.
struct Fields(Vec<KeyValue>, bool);

impl Fields {
    fn push(&mut self, field: &Field, value: impl Into<Value>) {
        let Self(attributes, is_own) = self;
        let name = match field.name().trim_start_matches("r#") {
            "error" => ERROR,
            // The span has it already.
            "trace_id" if *is_own => return,
            name if *is_own => conventional(name),
            name => name,
        };
        attributes.push(KeyValue::new(name, value));
    }

    fn add_to(self, span: &mut SpanData) {
        for new in self.0 {
            if new.key.as_str() == ERROR {
                span.status = Status::error("");
            }
            match span.attributes.iter_mut().find(|it| it.key == new.key) {
                Some(known) => known.value = new.value,
                None => span.attributes.push(new),
            }
        }
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let end = value.floor_char_boundary(LONGEST);
        self.push(field, value[..end].to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The conventional name of a field of this crate's spans.
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
        other => other,
    }
}
