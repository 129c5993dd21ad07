//! The recorded spans: those of sampled requests.
//!
//! A span belongs to a trace if it is made inside of a recorded span, or while the task has the
//! [`Context`](crate::context::Context) of a sampled request. Other spans are ignored. Events are not
//! exported: they are in the log, with the trace id.

use std::cell::Cell;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    TracerProvider,
};
use opentelemetry::{Context as OtelContext, Key, KeyValue, Value};
use opentelemetry_sdk::trace::{
    IdGenerator, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanLimits, SpanProcessor,
};
use tracing::Subscriber;
use tracing::span::{Attributes, Id, Record};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::build_info::BuildInfo;
use crate::context::{Trace, any_span};
use crate::telemetry::span;

/// The attributes of a span.
const ATTRIBUTES: u32 = 32;

/// The bytes of an attribute's text.
pub(super) const LONGEST: usize = 1024;

/// What records spans for this processor.
pub(super) fn provider(processor: impl SpanProcessor + 'static) -> SdkTracerProvider {
    let limits = SpanLimits {
        max_attributes_per_span: ATTRIBUTES,
        ..SpanLimits::default()
    };
    SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_id_generator(Ids)
        // `Spans` records the spans of sampled requests only.
        .with_sampler(Sampler::AlwaysOn)
        .with_span_limits(limits)
        .build()
}

/// The layer that records spans. It gives them to that of `tracing_opentelemetry`, with the trace of the request.
pub(crate) struct Spans<S>(OpenTelemetryLayer<S, SdkTracer>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Spans<S> {
    pub(super) fn new(provider: &SdkTracerProvider) -> Self {
        let layer = OpenTelemetryLayer::new(provider.tracer(BuildInfo::current().name))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_error_fields_to_exceptions(false);
        Self(layer)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans<S> {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if OtelContext::map_current(TraceContextExt::has_active_span) {
            self.0.on_new_span(attributes, id, context);
        } else if let Some(trace) = Trace::current_sampled() {
            let metadata = attributes.metadata();
            if metadata.name() == span::REQUEST && metadata.target().starts_with(MACHINERY) {
                let parent = trace.parent();
                let _parent = parent.map(|parent| parent_context(&trace, parent, true).attach());
                self.0.on_new_span(attributes, id, context.clone());
                // The request has its span id already. The first entry starts the span, and takes that id.
                NEXT_IDS.set(Some((trace_id(&trace), trace.span().into())));
                self.0.on_enter(id, context.clone());
                self.0.on_exit(id, context);
                NEXT_IDS.set(None);
            } else {
                let _request = parent_context(&trace, trace.span(), false).attach();
                self.0.on_new_span(attributes, id, context);
            }
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.0.on_close(id, context);
    }
}

/// The id of the recorded span that the calling code runs in.
pub(super) fn current_span() -> Option<u64> {
    OtelContext::map_current(|context| {
        let id = context.span().span_context().span_id();
        (id != SpanId::INVALID).then(|| u64::from_be_bytes(id.to_bytes()))
    })
}

fn parent_context(trace: &Trace, span: u64, is_remote: bool) -> OtelContext {
    OtelContext::new().with_remote_span_context(SpanContext::new(
        trace_id(trace),
        span.into(),
        TraceFlags::SAMPLED,
        is_remote,
        TraceState::NONE,
    ))
}

fn trace_id(trace: &Trace) -> TraceId {
    TraceId::from_hex(trace.id()).unwrap_or(TraceId::INVALID)
}

thread_local! {
    /// The ids of the span that starts next on this thread, if they are known already.
    static NEXT_IDS: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

#[derive(Debug)]
struct Ids;

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        let known = NEXT_IDS.get().map(|(trace, _)| trace);
        known.unwrap_or_else(|| fastrand::u128(1..).into())
    }

    fn new_span_id(&self) -> SpanId {
        let known = NEXT_IDS.get().map(|(_, span)| span);
        known.unwrap_or_else(|| any_span().into())
    }
}

/// The beginning of the targets of this crate.
const MACHINERY: &str = concat!(env!("CARGO_CRATE_NAME"), "::");

/// The attribute of a failed span.
const ERROR: &str = "error.type";

/// The attributes that are numbers. `tracing_opentelemetry` makes text of unsigned ones.
const NUMBERS: [&str; 2] = ["http.response.status_code", "code.line.number"];

/// Gives a span the names of OpenTelemetry's conventions, and bounds its size.
pub(super) fn apply_conventions(span: &mut SpanData) {
    // `tracing_opentelemetry` puts the target of the span first.
    let is_target = |it: &KeyValue| it.key.as_str() == "target";
    let target = span.attributes.iter().position(is_target);
    let target = target.map(|index| span.attributes.remove(index).value);
    let of_machinery = target.is_some_and(|target| target.as_str().starts_with(MACHINERY));
    // An array is the chain of an error, and the span has its trace id in a field of its own.
    span.attributes.retain(|it| {
        let is_trace_id = of_machinery && it.key.as_str() == "trace_id";
        !is_trace_id && !matches!(it.value, Value::Array(_))
    });
    for attribute in &mut span.attributes {
        let name = attribute.key.as_str();
        if name == "error" {
            attribute.key = Key::from_static_str(ERROR);
            span.status = Status::error("");
        } else if let Some(name) = conventional(name).filter(|_| of_machinery) {
            attribute.key = Key::from_static_str(name);
        } else if let Some(name) = name.strip_prefix("r#") {
            attribute.key = Key::new(name.to_owned());
        }
        let Value::String(text) = &attribute.value else {
            continue;
        };
        let text = text.as_str();
        if NUMBERS.contains(&attribute.key.as_str())
            && let Ok(number) = text.parse()
        {
            attribute.value = Value::I64(number);
        } else if text.len() > LONGEST {
            let short = text[..text.floor_char_boundary(LONGEST)].to_owned();
            attribute.value = Value::String(short.into());
        }
    }
    let text = |name: &str| {
        let attribute = span.attributes.iter().find(|it| it.key.as_str() == name);
        attribute.map_or_else(String::new, |it| it.value.as_str().into_owned())
    };
    match &*span.name {
        span::REQUEST if of_machinery => {
            span.name = format!("{} {}", text("http.request.method"), text("http.route")).into();
            span.span_kind = SpanKind::Server;
        }
        span::STATEMENT if of_machinery => {
            span.name = text("db.query.summary").into();
            span.span_kind = SpanKind::Client;
        }
        _ => {}
    }
}

/// The conventional name of a field of this crate's spans.
fn conventional(field: &str) -> Option<&'static str> {
    Some(match field {
        "method" => "http.request.method",
        "route" => "http.route",
        "status" => "http.response.status_code",
        "system" => "db.system.name",
        "operation" => "db.operation.name",
        "summary" => "db.query.summary",
        "file" => "code.file.path",
        "line" => "code.line.number",
        _ => return None,
    })
}
