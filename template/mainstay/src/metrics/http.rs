//! The metrics of requests.
//!
//! - There are as many series as the service has routes: a path without a route counts as `unmatched`, and a
//!   method that HTTP does not define as `other`.
//! - A series is created on first use. From then on, recording allocates nothing, and shares its locks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use axum::http::Method;
use metrics::HistogramFn;

use super::catalog;
use super::histogram::Histogram;
use super::text::Text;

/// Records requests. All copies are the same. It is never freed: a reference count would be one more value
/// that all threads write to.
#[derive(Debug, Clone, Copy)]
pub struct Recorder(&'static Inner);

#[derive(Debug, Default)]
struct Inner {
    in_flight: AtomicUsize,
    shed: AtomicU64,
    /// The series of each method, by route. Routes are in the code of the service, so that there are few.
    series: [RwLock<BTreeMap<Box<str>, &'static Series>>; METHODS.len()],
}

#[derive(Debug, Default)]
struct Series {
    durations: [OnceLock<Histogram>; CLASSES.len()],
    bodies: [OnceLock<Histogram>; 2],
}

const METHODS: [&str; 10] = [
    OTHER, "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT",
];
const OTHER: &str = "other";

/// The classes of status codes, by their first digit.
const CLASSES: [&str; 6] = [OTHER, "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Recorder {
    /// Counts a request as active until its [`end`](Self::end).
    pub(crate) fn begin(self) {
        self.0.in_flight.fetch_add(1, Relaxed);
    }

    /// Records a request that has ended. `bodies` are the lengths of the bodies of request and response, 0 where they are
    /// not known. An empty body is not counted.
    pub(crate) fn end(
        self,
        method: &Method,
        route: &str,
        status: u16,
        took: Duration,
        bodies: [u64; 2],
    ) {
        self.0.in_flight.fetch_sub(1, Relaxed);
        let method = METHODS.iter().position(|it| *it == method.as_str());
        let series = self.series(method.unwrap_or(0), route);
        let class = usize::from(status / 100);
        series.durations[if class < CLASSES.len() { class } else { 0 }]
            .get_or_init(Histogram::default)
            .record(took.as_secs_f64());
        for (sizes, length) in series.bodies.iter().zip(bodies) {
            if length > 0 {
                #[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
                sizes.get_or_init(Histogram::of_sizes).record(length as f64);
            }
        }
    }

    /// Counts a request that was refused because of overload.
    pub(crate) fn shed(self) {
        self.0.shed.fetch_add(1, Relaxed);
    }

    pub(super) fn write(self, text: &mut Text) {
        let inner = self.0;
        text.value(&catalog::ACTIVE_REQUESTS, inner.in_flight.load(Relaxed));
        text.value(&catalog::REQUESTS_SHED, inner.shed.load(Relaxed));
        let mut all = Vec::new();
        for (method, series) in METHODS.into_iter().zip(&inner.series) {
            let series = series.read().unwrap_or_else(PoisonError::into_inner);
            for (route, series) in &*series {
                all.push((method, route.clone(), *series));
            }
        }
        let mut durations = text.family(&catalog::REQUEST_DURATION);
        for (method, route, series) in &all {
            for (class, durations_of_class) in CLASSES.iter().zip(&series.durations) {
                durations.histogram(&[method, route, class], durations_of_class.get());
            }
        }
        let families = [&catalog::REQUEST_BODIES, &catalog::RESPONSE_BODIES];
        for (index, family) in families.into_iter().enumerate() {
            let mut sizes = text.family(family);
            for (method, route, series) in &all {
                sizes.histogram(&[method, route], series.bodies[index].get());
            }
        }
    }

    fn series(self, method: usize, route: &str) -> &'static Series {
        let all = &self.0.series[method];
        let known = all.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(route) {
            return known;
        }
        drop(known);
        let mut all = all.write().unwrap_or_else(PoisonError::into_inner);
        let new = || &*Box::leak(Box::default());
        all.entry(route.into()).or_insert_with(new)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self(Box::leak(Box::default()))
    }
}
