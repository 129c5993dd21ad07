//! OTLP: exports the spans of sampled requests to an OpenTelemetry collector, as protobuf over HTTP.
//!
//! - Metrics are not exported: a collector can scrape `/metrics`.
//! - A request never waits for the collector. Ended spans enter a bounded queue, and one task sends them. While the
//!   collector is down or slow, or refuses them, spans that do not fit in the queue are dropped. Lost spans are
//!   counted. The export logs one event when it begins to fail, and one when it works again.
//! - A stop sends the queued spans within `shutdown.close`.
//! - The settings are those of `[otlp]`. Variables named `OTEL_…` have no effect.

mod settings;
mod spans;

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Request, header::CONTENT_TYPE};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use rustls::ClientConfig;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use settings::Otlp;

use super::json::with_sources;
use super::message;
use crate::build_info::BuildInfo;
use crate::panics::caught;
use settings::{Attribute, Authorities, Endpoint, Header};
use spans::{Spans, attribute};

pub(crate) const SETTINGS: &str = include_str!("../../config/otlp.toml");

/// The most spans in one request to the collector.
const BATCH: usize = 512;
const QUEUE: usize = 4 * BATCH;

/// The pause between two exports.
const INTERVAL: Duration = Duration::from_millis(250);

/// The attempts to send a batch before it is dropped, and the pause between two of them.
const ATTEMPTS: usize = 4;
const RETRY: Duration = Duration::from_secs(1);

/// The numbers of spans and exports since the start.
static SPANS_ENDED: AtomicU64 = AtomicU64::new(0);
pub(crate) static SPANS_SENT: AtomicU64 = AtomicU64::new(0);
pub(crate) static SPANS_LOST: AtomicU64 = AtomicU64::new(0);
pub(crate) static EXPORTS_TAKEN: AtomicU64 = AtomicU64::new(0);
pub(crate) static EXPORTS_FAILED: AtomicU64 = AtomicU64::new(0);

/// The export of this process, if `otlp.endpoint` names a collector.
static EXPORT: OnceLock<Export> = OnceLock::new();

#[derive(Debug)]
struct Export {
    http: Client<HttpsConnector<HttpConnector>, Body>,
    url: String,
    headers: HeaderMap,
    timeout: Duration,
    resource: Resource,
    ended: mpsc::Sender<Span>,
    /// [`run`] holds the lock until it has sent the last span.
    queue: Mutex<mpsc::Receiver<Span>>,
    closing: CancellationToken,
}

/// Prepares the export. Call it before the log starts, which adds the [`layer`].
pub(crate) fn prepare(settings: &Otlp) {
    let Some(Endpoint(url)) = &settings.endpoint else {
        return;
    };
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
    let (ended, queue) = mpsc::channel(QUEUE);
    _ = EXPORT.set(Export {
        http: Client::builder(TokioExecutor::new()).build(connector),
        url: format!("{}/v1/traces", url.trim_end_matches('/')),
        headers: headers.chain([(CONTENT_TYPE, protobuf)]).collect(),
        timeout: settings.timeout,
        resource: resource(settings),
        ended,
        queue: Mutex::new(queue),
        closing: CancellationToken::new(),
    });
}

pub(super) fn layer() -> Option<Spans> {
    EXPORT.get().map(|export| Spans(export.ended.clone()))
}

pub(crate) async fn run() {
    if let Some(export) = EXPORT.get() {
        // A panic ends only the export.
        _ = caught(export.send_until_closed()).await;
    }
}

/// Stops the export: sends the queued spans within this time, and logs how many were lost.
pub(crate) async fn close(within: Duration) {
    let Some(export) = EXPORT.get() else { return };
    export.closing.cancel();
    _ = timeout(within, export.queue.lock()).await;
    let ended = SPANS_ENDED.load(Ordering::Relaxed);
    let lost = ended.saturating_sub(SPANS_SENT.load(Ordering::Relaxed));
    SPANS_LOST.store(lost, Ordering::Relaxed);
    if lost > 0 {
        tracing::warn!(message = message::SPANS_LOST, lost);
    }
}

impl Export {
    async fn send_until_closed(&self) {
        let mut queue = self.queue.lock().await;
        let mut is_failing = false;
        loop {
            let is_closing = timeout(INTERVAL, self.closing.cancelled()).await.is_ok();
            while !queue.is_empty() {
                let mut batch = Vec::with_capacity(BATCH);
                queue.recv_many(&mut batch, BATCH).await;
                self.send(batch, &mut is_failing).await;
            }
            if is_closing {
                return;
            }
        }
    }

    async fn send(&self, batch: Vec<Span>, is_failing: &mut bool) {
        let count = batch.len() as u64;
        let resource_spans = vec![ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![ScopeSpans {
                spans: batch,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }];
        let request = ExportTraceServiceRequest { resource_spans };
        let body = Bytes::from(request.encode_to_vec());
        for _ in 0..ATTEMPTS {
            let Err(cause) = self.post(body.clone()).await else {
                EXPORTS_TAKEN.fetch_add(1, Ordering::Relaxed);
                SPANS_SENT.fetch_add(count, Ordering::Relaxed);
                if mem::take(is_failing) {
                    tracing::info!(message = message::EXPORTS_AGAIN, signal = "traces");
                }
                return;
            };
            EXPORTS_FAILED.fetch_add(1, Ordering::Relaxed);
            if !mem::replace(is_failing, true) {
                let (endpoint, signal) = (&*self.url, "traces");
                tracing::warn!(message = message::EXPORT_FAILS, signal, endpoint, cause);
            }
            if timeout(RETRY, self.closing.cancelled()).await.is_ok() {
                break;
            }
        }
        SPANS_LOST.fetch_add(count, Ordering::Relaxed);
    }

    async fn post(&self, body: Bytes) -> Result<(), String> {
        let mut request = Request::post(&self.url)
            .body(Body::from(body))
            .map_err(|error| error.to_string())?;
        request.headers_mut().clone_from(&self.headers);
        match timeout(self.timeout, self.http.request(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(format!("the collector answered {}", answer.status())),
            Ok(Err(error)) => Err(with_sources(&error)),
            Err(_) => Err("the collector did not answer in time".to_owned()),
        }
    }
}

/// The resource attributes of this process. Those in the settings override the others.
fn resource(settings: &Otlp) -> Resource {
    let BuildInfo { name, version, .. } = BuildInfo::current();
    let instance = format!("{:032x}", fastrand::u128(..));
    let mut attributes = BTreeMap::from([
        ("service.name", settings.service.as_deref().unwrap_or(name)),
        ("service.version", version),
        ("service.instance.id", &instance),
    ]);
    let set = settings.attributes.iter();
    attributes.extend(set.map(|Attribute(name, value)| (&**name, &**value)));
    let text = |(name, value): (&str, &str)| attribute(name, Value::StringValue(value.to_owned()));
    Resource {
        attributes: attributes.into_iter().map(text).collect(),
        ..Resource::default()
    }
}

#[cfg(test)]
mod tests;
