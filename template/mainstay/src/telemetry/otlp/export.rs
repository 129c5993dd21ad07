//! The export itself: it sends what has gathered until the stop, and then the rest.

use std::convert::Infallible;
use std::env;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Numbers;
use super::collector::{Collector, Counts};
pub(crate) use super::layer::Spans;
use super::layer::current_span;
use super::messages::Resource;
use super::queue::{Ended, Queue};
use super::settings::{Endpoint, Otlp};
use crate::context::EXPORTED_SPAN;
use crate::panics::caught;
use crate::telemetry::message;

/// To the collector, if the settings name one. All clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Export(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    settings: Otlp,
    queue: Arc<Queue>,
    counts: [Counts; 2],
    /// Until when the last export may take, once the stop has come to that.
    closing: watch::Sender<Option<Instant>>,
    closed: CancellationToken,
}

/// What is exported, in the order of `counts`.
const SIGNALS: [&str; 2] = ["traces", "metrics"];

/// How long spans gather, unless there are many.
const REST: Duration = Duration::from_secs(1);

/// That of the process, for its metrics.
static OF_PROCESS: OnceLock<Arc<Inner>> = OnceLock::new();

impl Export {
    /// To where the settings say. Nothing is sent before it [runs](Self::run).
    #[must_use]
    pub(crate) fn to(settings: &Otlp) -> Self {
        Self(settings.endpoint.clone().map(|endpoint| {
            let inner = Arc::new(Inner {
                endpoint,
                settings: settings.clone(),
                queue: Arc::default(),
                counts: Default::default(),
                closing: watch::Sender::new(None),
                closed: CancellationToken::new(),
            });
            _ = OF_PROCESS.set(Arc::clone(&inner));
            inner
        }))
    }

    /// What takes down the spans that are exported.
    #[must_use]
    pub(crate) fn spans(&self) -> Option<Spans> {
        let inner = self.0.as_ref()?;
        _ = EXPORTED_SPAN.set(current_span);
        Some(Spans(Arc::clone(&inner.queue)))
    }

    /// Exports until the [close](Self::close). `page` gives all metrics as they are just now.
    pub(crate) async fn run(self, page: impl Fn() -> String) {
        if let Some(inner) = self.0 {
            // What runs beside it goes on.
            _ = caught(inner.run(page)).await;
            inner.closed.cancel();
        }
    }

    /// Exports what is left, and says what could not be. Nobody is waited for any longer than that.
    pub(crate) async fn close(&self, within: Duration) {
        if let Some(inner) = &self.0 {
            let deadline = Instant::now() + within;
            inner.closing.send_replace(Some(deadline));
            _ = timeout_at(deadline, inner.closed.cancelled()).await;
        }
    }
}

/// What has become of what was to be exported; `None` without a collector.
#[must_use]
pub(crate) fn numbers() -> Option<Numbers> {
    let inner = OF_PROCESS.get()?;
    let [traces, metrics] = &inner.counts;
    let counts = |counts: &Counts| [&counts[0], &counts[1]].map(|it| it.load(Ordering::Relaxed));
    Some(Numbers {
        spans_sent: inner.queue.sent(),
        spans_lost: inner.queue.lost(),
        exports: [(SIGNALS[0], counts(traces)), (SIGNALS[1], counts(metrics))],
    })
}

impl Inner {
    async fn run(&self, page: impl Fn() -> String) {
        tell_of_strangers();
        let resource = Resource::of(&self.settings);
        let [traces, metrics] = [0, 1].map(|which| {
            let counts = Arc::clone(&self.counts[which]);
            Collector::at(&self.endpoint, SIGNALS[which], &self.settings, counts)
        });
        let mut traces = Traces {
            resource: &resource,
            queue: &self.queue,
            collector: traces,
            batch: Vec::new(),
        };
        let mut metrics = Metrics {
            resource: &resource,
            page,
            collector: metrics,
            interval: self.settings.interval,
        };
        let deadline = tokio::select! {
            deadline = self.closing() => deadline,
            never = traces.run() => match never {},
            never = metrics.run() => match never {},
        };
        // What was under way just now is not lost: it is sent once more.
        let rest = async { tokio::join!(traces.send(), metrics.send()) };
        _ = timeout_at(deadline - MARGIN, rest).await;
        traces.give_up();
    }

    async fn closing(&self) -> Instant {
        let mut closing = self.closing.subscribe();
        loop {
            let deadline = *closing.borrow_and_update();
            if let Some(deadline) = deadline {
                return deadline;
            }
            // The sender is here.
            _ = closing.changed().await;
        }
    }
}

/// Before the deadline, so that what is lost is told in time.
const MARGIN: Duration = Duration::from_millis(50);

/// Who has set these expects something of them.
fn tell_of_strangers() {
    let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let ours: Vec<_> = names.filter(|name| name.starts_with("OTEL_")).collect();
    if !ours.is_empty() {
        let variables = ours.join(", ");
        tracing::warn!(
            variables,
            "variables of OpenTelemetry are not read; set [otlp] instead"
        );
    }
}

struct Traces<'a> {
    resource: &'a Resource,
    queue: &'a Queue,
    collector: Collector,
    /// What is being sent.
    batch: Vec<Ended>,
}

impl Traces<'_> {
    async fn run(&mut self) -> Infallible {
        loop {
            self.collector.pause().await;
            _ = timeout(REST, self.queue.enough()).await;
            self.send().await;
        }
    }

    /// Sends all there is, or as much as is taken.
    async fn send(&mut self) {
        loop {
            if self.batch.is_empty() {
                self.batch = self.queue.take();
            }
            if self.batch.is_empty() {
                return;
            }
            let sent = self
                .collector
                .deliver(self.resource.traces(&self.batch))
                .await;
            match sent {
                Ok(rejected) => {
                    let lost = rejected.min(self.batch.len());
                    self.queue.have_sent(self.batch.len() - lost);
                    self.queue.have_lost(lost);
                }
                Err(failure) if failure.may_pass => return,
                Err(_) => self.queue.have_lost(self.batch.len()),
            }
            self.batch.clear();
            if sent.is_err() {
                return;
            }
        }
    }

    /// Says how many are lost, in all.
    fn give_up(self) {
        let mut batch = self.batch;
        while !batch.is_empty() {
            self.queue.have_lost(batch.len());
            batch = self.queue.take();
        }
        let lost = self.queue.lost();
        if lost > 0 {
            tracing::warn!(message = message::SPANS_LOST, lost);
        }
    }
}

struct Metrics<'a, P> {
    resource: &'a Resource,
    page: P,
    collector: Collector,
    interval: Duration,
}

impl<P: Fn() -> String> Metrics<'_, P> {
    async fn run(&mut self) -> Infallible {
        if self.interval.is_zero() {
            return std::future::pending().await;
        }
        loop {
            sleep(self.interval).await;
            self.collector.pause().await;
            self.send().await;
        }
    }

    /// If this time they are not taken, the next ones say all that these have said.
    async fn send(&mut self) {
        if !self.interval.is_zero() {
            let metrics = self.resource.metrics(&(self.page)());
            _ = self.collector.deliver(metrics).await;
        }
    }
}
