//! OTLP: the export of the spans of sampled requests to an OpenTelemetry collector, by HTTP and protobuf.
//!
//! - Metrics are not exported: a collector can scrape `/metrics`.
//! - A request never waits for the collector. Ended spans enter a bounded queue, and one task sends them. While the
//!   collector is away, slow, or refuses, spans that do not fit are dropped. Spans that were not sent are counted.
//!   The log has one event when the export fails, and one when it works again.
//! - A stop sends the queued spans within `shutdown.close`.
//! - The settings are those of `[otlp]`. Variables named `OTEL_…` change neither the target nor the headers.

mod settings;
mod spans;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::KeyValue;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;

pub(crate) use settings::Otlp;

use super::json::WithSources;
use super::message;
use crate::build_info::BuildInfo;
use crate::context::EXPORTED_SPAN;
use crate::panics::caught;
use settings::{Attribute, Authorities, Header};
use spans::Spans;

/// The reference of `[otlp]`.
pub(crate) const SETTINGS: &str = include_str!("../../config/otlp.toml");

/// The spans in one request to the collector.
const BATCH: usize = 512;

/// The spans in the queue.
const QUEUE: usize = 4 * BATCH;

/// How long spans gather, unless a batch is complete.
const GATHER: Duration = Duration::from_secs(1);

/// The pause after a failed request.
const PAUSE: Duration = Duration::from_secs(5);

/// The export to the collector of `otlp.endpoint`, if there is one. All clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Export(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    /// The URL of the collector for traces.
    url: String,
    settings: Otlp,
    provider: SdkTracerProvider,
    /// The ended spans, until [`Export::run`] takes them.
    queue: Mutex<Option<mpsc::Receiver<SpanData>>>,
    counts: Arc<Counts>,
    /// Cancelled when the stop wants the last spans to be sent.
    closing: CancellationToken,
    /// Cancelled when they were.
    closed: CancellationToken,
}

/// What became of spans, and of requests to the collector.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    spans_ended: AtomicU64,
    pub(crate) spans_sent: AtomicU64,
    pub(crate) spans_lost: AtomicU64,
    pub(crate) exports_taken: AtomicU64,
    pub(crate) exports_failed: AtomicU64,
}

/// The counts of this process, for its metrics.
static COUNTS: OnceLock<Arc<Counts>> = OnceLock::new();

/// What was exported since the start; `None` without a collector.
pub(crate) fn counts() -> Option<&'static Counts> {
    COUNTS.get().map(|counts| &**counts)
}

impl Export {
    /// An export by these settings. It sends nothing before it [runs](Self::run).
    pub(crate) fn new(settings: &Otlp) -> Self {
        let Some(endpoint) = &settings.endpoint else {
            return Self::default();
        };
        let (sender, queue) = mpsc::channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let processor = Queue {
            spans: sender,
            counts: Arc::clone(&counts),
        };
        _ = COUNTS.set(Arc::clone(&counts));
        _ = EXPORTED_SPAN.set(spans::current_span);
        Self(Some(Arc::new(Inner {
            url: endpoint.of_traces(),
            settings: settings.clone(),
            provider: spans::provider(processor),
            queue: Mutex::new(Some(queue)),
            counts,
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        })))
    }

    /// The layer of the subscriber that records the exported spans.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> Option<Spans<S>> {
        let inner = self.0.as_ref()?;
        Some(Spans::new(&inner.provider))
    }

    /// Sends spans until the [close](Self::close).
    pub(crate) async fn run(self) {
        if let Some(inner) = self.0 {
            // A panic ends the export, and nothing else.
            _ = caught(inner.send_until_closed()).await;
            inner.closed.cancel();
        }
    }

    /// Sends the queued spans within this time, and logs how many were lost.
    pub(crate) async fn close(&self, within: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.closing.cancel();
        _ = timeout(within, inner.closed.cancelled()).await;
        // Does not block: the processor has nothing to shut down.
        _ = inner.provider.shutdown();
        let ended = inner.counts.spans_ended.load(Ordering::Relaxed);
        let lost = ended.saturating_sub(inner.counts.spans_sent.load(Ordering::Relaxed));
        inner.counts.spans_lost.store(lost, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(message = message::SPANS_LOST, lost);
        }
    }
}

impl Inner {
    async fn send_until_closed(&self) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut queue) = { queue }.take() else {
            return;
        };
        let exporter = match self.exporter() {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::error!(message = message::EXPORT_FAILS, cause = %error);
                return;
            }
        };
        loop {
            let batch = self.next_batch(&mut queue).await;
            if batch.is_empty() {
                return;
            }
            let count = batch.len() as u64;
            let result = exporter.export(batch).await;
            let (exports, spans) = match result {
                Ok(()) => (&self.counts.exports_taken, &self.counts.spans_sent),
                Err(_) => (&self.counts.exports_failed, &self.counts.spans_lost),
            };
            exports.fetch_add(1, Ordering::Relaxed);
            spans.fetch_add(count, Ordering::Relaxed);
            if result.is_err() {
                _ = timeout(PAUSE, self.closing.cancelled()).await;
            }
        }
    }

    /// The next spans to send; none when the queue is empty at the stop.
    async fn next_batch(&self, queue: &mut mpsc::Receiver<SpanData>) -> Vec<SpanData> {
        let mut batch = Vec::new();
        let gather = async {
            queue.recv_many(&mut batch, BATCH).await;
            let complete = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    queue.recv_many(&mut batch, room).await;
                }
            };
            _ = timeout(GATHER, complete).await;
        };
        tokio::select! {
            () = gather => {}
            () = self.closing.cancelled() => {
                while batch.len() < BATCH && let Ok(span) = queue.try_recv() {
                    batch.push(span);
                }
            }
        }
        batch
    }

    fn exporter(&self) -> Result<SpanExporter, ExporterBuildError> {
        let client = Client::new(&self.url, &self.settings);
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&self.url)
            .with_timeout(self.settings.timeout)
            .with_http_client(client)
            .build()?;
        exporter.set_resource(&resource(&self.settings));
        Ok(exporter)
    }
}

/// Puts ended spans into the queue. It never blocks.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<SpanData>,
    counts: Arc<Counts>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, mut span: SpanData) {
        spans::apply_conventions(&mut span);
        self.counts.spans_ended.fetch_add(1, Ordering::Relaxed);
        if self.spans.try_send(span).is_err() {
            self.counts.spans_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The attributes of this process. Those of the settings override others.
fn resource(settings: &Otlp) -> Resource {
    let build = BuildInfo::current();
    let service = settings.service.as_deref().unwrap_or(build.name);
    // A UUID of version 4.
    let random = fastrand::u128(..) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{random:032x}");
    let id = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    let set = settings.attributes.iter();
    Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", service.to_owned()))
        .with_attribute(KeyValue::new("service.version", build.version))
        .with_attribute(KeyValue::new("service.instance.id", id.join("-")))
        .with_attributes(
            set.map(|Attribute(name, value)| KeyValue::new(name.clone(), value.clone())),
        )
        .build()
}

/// The HTTP client of the exporter. It logs when the collector begins to fail, and when it works again.
#[derive(Debug)]
struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>>,
    headers: HeaderMap,
    url: String,
    is_failing: AtomicBool,
}

impl Client {
    fn new(url: &str, settings: &Otlp) -> Self {
        let connector = match &settings.authorities {
            Some(Authorities(roots)) => {
                let tls = ClientConfig::builder().with_root_certificates(Arc::clone(roots));
                HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth())
            }
            None => HttpsConnectorBuilder::new().with_webpki_roots(),
        };
        let connector = connector.https_or_http().enable_http1().build();
        let headers = settings.headers.iter();
        let headers = headers.map(|Header(name, value)| (name.clone(), value.clone()));
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        Self {
            http: HyperClient::new(connector, settings.timeout, None),
            headers: headers.chain([(header::CONTENT_TYPE, protobuf)]).collect(),
            url: url.to_owned(),
            is_failing: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The exporter takes headers from `OTEL_…` variables: replace them all.
        request.headers_mut().clone_from(&self.headers);
        let answer = self.http.send_bytes(request).await;
        let failure = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(WithSources(&**error).to_string()),
        };
        match failure {
            Some(cause) if !self.is_failing.swap(true, Ordering::Relaxed) => tracing::warn!(
                message = message::EXPORT_FAILS,
                signal = "traces",
                endpoint = self.url,
                cause
            ),
            None if self.is_failing.swap(false, Ordering::Relaxed) => {
                tracing::info!(message = message::EXPORTS_AGAIN, signal = "traces");
            }
            _ => {}
        }
        answer
    }
}

#[cfg(test)]
mod tests;
