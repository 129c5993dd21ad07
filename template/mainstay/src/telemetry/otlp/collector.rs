//! The way to a collector, for one kind of thing: it says what becomes of what it is given, wants a
//! pause while the collector fails, and tells once that it does.

use std::fmt::{self, Display};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep_until, timeout};

use super::messages::Rejected;
use super::settings::{Authorities, Endpoint, Header, Otlp};
use crate::telemetry::json::with_sources;
use crate::telemetry::message;

/// The first pause after a failure, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// What is sent, and answered.
const PROTOBUF: &str = "application/x-protobuf";

/// The longest answer that is read, so that its connection can be used again.
const LONGEST: usize = 64 << 10;

/// Exports of one kind since the start: those that were taken, and those that were not.
pub(super) type Counts = Arc<[AtomicU64; 2]>;

#[derive(Debug)]
pub(super) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    /// `traces` or `metrics`.
    signal: &'static str,
    url: String,
    headers: HeaderMap,
    timeout: Duration,
    counts: Counts,
    /// How long the last pause was, while it fails.
    failing: Option<Duration>,
    /// The log says that it does, or that it rejects something.
    is_told: bool,
    /// Before that, it is not asked again.
    until: Instant,
}

/// Why something was not taken.
#[derive(Debug)]
pub(super) struct Failure {
    cause: String,
    /// The same may be taken later.
    pub(super) may_pass: bool,
    /// What the collector says about when.
    after: Option<Duration>,
}

impl Collector {
    pub(super) fn at(
        endpoint: &Endpoint,
        signal: &'static str,
        settings: &Otlp,
        counts: Counts,
    ) -> Self {
        let connector = match &settings.authorities {
            Some(Authorities(roots)) => {
                let tls = ClientConfig::builder().with_root_certificates(Arc::clone(roots));
                HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth())
            }
            None => HttpsConnectorBuilder::new().with_webpki_roots(),
        };
        let connector = connector.https_or_http().enable_http1().build();
        let headers = settings.headers.iter();
        let mut headers: HeaderMap = headers
            .map(|Header(name, value)| (name.clone(), value.clone()))
            .collect();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static(PROTOBUF),
        );
        Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_max_idle_per_host(1)
                .build(connector),
            signal,
            url: endpoint.of(signal),
            headers,
            timeout: settings.timeout,
            counts,
            failing: None,
            is_told: false,
            until: Instant::now(),
        }
    }

    /// Waits until it may be asked again.
    pub(super) async fn pause(&self) {
        sleep_until(self.until).await;
    }

    /// Hands this over, within `otlp.timeout`, and gives how much of it was rejected.
    pub(super) async fn deliver(&mut self, body: Vec<u8>) -> Result<usize, Failure> {
        let sent = timeout(self.timeout, self.send(body)).await;
        let sent = sent.unwrap_or_else(|_| Err(Failure::passing("it did not answer in time")));
        let is_taken = matches!(&sent, Ok(Rejected { count: 0, .. }));
        self.counts[usize::from(!is_taken)].fetch_add(1, Ordering::Relaxed);
        match &sent {
            Ok(_) if is_taken => self.works(),
            Ok(rejected) => self.rejects(rejected),
            Err(failure) => self.fails(failure),
        }
        sent.map(|rejected| rejected.count)
    }

    async fn send(&self, body: Vec<u8>) -> Result<Rejected, Failure> {
        let mut request = Request::post(&self.url)
            .body(Body::from(body))
            .map_err(Failure::for_good)?;
        request.headers_mut().clone_from(&self.headers);
        let answer = self.client.request(request).await;
        let (head, body) = answer
            .map_err(|error| Failure::passing(WithSources(&error)))?
            .into_parts();
        let said = to_bytes(Body::new(body), LONGEST).await.unwrap_or_default();
        if head.status.is_success() {
            let kind = head.headers.get(header::CONTENT_TYPE);
            let is_ours = kind.is_some_and(|kind| kind.as_bytes().starts_with(PROTOBUF.as_bytes()));
            return Ok(if is_ours {
                Rejected::by(&said)
            } else {
                Rejected::default()
            });
        }
        let cause = format!("it answered {}", head.status);
        Err(match head.status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Failure {
                after: head.headers.get(header::RETRY_AFTER).and_then(|after| {
                    let seconds = after.to_str().ok()?.parse().ok()?;
                    Some(Duration::from_secs(seconds))
                }),
                ..Failure::passing(cause)
            },
            // OTLP has these for what will be refused again.
            _ => Failure::for_good(cause),
        })
    }

    fn works(&mut self) {
        self.failing = None;
        if mem::take(&mut self.is_told) {
            tracing::info!(message = message::EXPORTS_AGAIN, signal = self.signal);
        }
    }

    /// The rest was taken, and the same would be rejected again: no pause makes that better.
    fn rejects(&mut self, rejected: &Rejected) {
        self.failing = None;
        let Rejected { count, words } = rejected;
        self.tell(&format!("it rejected {count}: {words}"));
    }

    fn fails(&mut self, failure: &Failure) {
        let [first, longest] = PAUSES;
        self.tell(&failure.cause);
        let pause = self.failing.map_or(first, |last| (last * 2).min(longest));
        self.failing = Some(pause);
        // Nobody comes back at the same moment as all others.
        let jittered = pause.mul_f64(0.5 + 0.5 * fastrand::f64());
        let asked = failure.after.unwrap_or_default().min(longest);
        self.until = Instant::now() + jittered.max(asked);
    }

    /// Once, until all is well again.
    fn tell(&mut self, cause: &str) {
        if !mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                message = message::EXPORT_FAILS,
                signal = self.signal,
                endpoint = self.url,
                cause,
            );
        }
    }
}

impl Failure {
    fn passing(cause: impl Display) -> Self {
        Self {
            cause: cause.to_string(),
            may_pass: true,
            after: None,
        }
    }

    fn for_good(cause: impl Display) -> Self {
        Self {
            may_pass: false,
            ..Self::passing(cause)
        }
    }
}

struct WithSources<'a>(&'a hyper_util::client::legacy::Error);

impl Display for WithSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_sources(f, self.0)
    }
}
