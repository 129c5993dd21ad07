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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use rustls::ClientConfig;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use settings::Otlp;

use super::json::with_sources;
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

/// The counts of this process, since the start.
static SPANS_ENDED: AtomicU64 = AtomicU64::new(0);
pub(crate) static SPANS_SENT: AtomicU64 = AtomicU64::new(0);
pub(crate) static SPANS_LOST: AtomicU64 = AtomicU64::new(0);
pub(crate) static EXPORTS_TAKEN: AtomicU64 = AtomicU64::new(0);
pub(crate) static EXPORTS_FAILED: AtomicU64 = AtomicU64::new(0);

/// The export to the collector of `otlp.endpoint`, if there is one. All clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Export(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    url: String,
    settings: Otlp,
    ended: mpsc::Sender<SpanData>,
    /// Locked by [`Export::run`] until it has sent the last span.
    queue: Mutex<mpsc::Receiver<SpanData>>,
    /// Cancelled when the stop wants the last spans to be sent.
    closing: CancellationToken,
}

impl Export {
    /// An export by these settings. It sends nothing before it [runs](Self::run).
    pub(crate) fn new(settings: &Otlp) -> Self {
        let Some(endpoint) = &settings.endpoint else {
            return Self::default();
        };
        let (ended, queue) = mpsc::channel(QUEUE);
        _ = EXPORTED_SPAN.set(spans::current_span);
        Self(Some(Arc::new(Inner {
            url: endpoint.of_traces(),
            settings: settings.clone(),
            ended,
            queue: Mutex::new(queue),
            closing: CancellationToken::new(),
        })))
    }

    pub(super) fn layer(&self) -> Option<Spans> {
        let inner = self.0.as_ref()?;
        Some(Spans::new(inner.ended.clone()))
    }

    /// Sends spans until the [close](Self::close).
    pub(crate) async fn run(self) {
        if let Some(inner) = self.0 {
            // A panic ends the export, and nothing else.
            _ = caught(inner.send_until_closed()).await;
        }
    }

    /// Sends the queued spans within this time, and logs how many were lost.
    pub(crate) async fn close(&self, within: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.closing.cancel();
        _ = timeout(within, inner.queue.lock()).await;
        let ended = SPANS_ENDED.load(Ordering::Relaxed);
        let lost = ended.saturating_sub(SPANS_SENT.load(Ordering::Relaxed));
        SPANS_LOST.store(lost, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(message = message::SPANS_LOST, lost);
        }
    }
}

impl Inner {
    async fn send_until_closed(&self) {
        let mut queue = self.queue.lock().await;
        let exporter = match self.exporter() {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::error!(message = message::EXPORT_FAILS, cause = %error);
                return;
            }
        };
        while !(queue.is_closed() && queue.is_empty()) {
            let mut batch = Vec::with_capacity(BATCH);
            let complete = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    if queue.recv_many(&mut batch, room).await == 0 {
                        break;
                    }
                }
            };
            tokio::select! {
                biased;
                () = complete => {}
                () = self.closing.cancelled() => queue.close(),
                () = sleep(GATHER) => {}
            }
            let count = batch.len() as u64;
            if count > 0 {
                let (exports, spans) = match exporter.export(batch).await {
                    Ok(()) => (&EXPORTS_TAKEN, &SPANS_SENT),
                    Err(_) => (&EXPORTS_FAILED, &SPANS_LOST),
                };
                exports.fetch_add(1, Ordering::Relaxed);
                spans.fetch_add(count, Ordering::Relaxed);
            }
        }
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

/// The attributes of this process. Those of the settings override others.
fn resource(settings: &Otlp) -> Resource {
    let build = BuildInfo::current();
    let service = settings.service.as_deref().unwrap_or(build.name);
    let instance = format!("{:032x}", fastrand::u128(..));
    let set = settings.attributes.iter();
    Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", service.to_owned()))
        .with_attribute(KeyValue::new("service.version", build.version))
        .with_attribute(KeyValue::new("service.instance.id", instance))
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
            Err(error) => Some(with_sources(&**error)),
        };
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(cause) if !was_failing => tracing::warn!(
                message = message::EXPORT_FAILS,
                signal = "traces",
                endpoint = self.url,
                cause
            ),
            None if was_failing => {
                tracing::info!(message = message::EXPORTS_AGAIN, signal = "traces");
            }
            _ => {}
        }
        answer
    }
}

#[cfg(test)]
mod tests;
