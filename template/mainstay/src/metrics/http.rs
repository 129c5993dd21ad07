//! The metrics of requests.
//!
//! - There are as many series as the service has routes: a path without a route counts as `unmatched`, and a
//!   method that HTTP does not define as `other`.
//! - A series is created on first use. From then on, recording allocates nothing, and shares its locks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use axum::http::Method;
use metrics::HistogramFn;

use super::catalog::{self, Family};
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

/// The histograms of one method and route.
#[derive(Debug, Default)]
struct Series {
    /// By class of status codes.
    durations: [OnceLock<Histogram>; CLASSES.len()],
    bodies: [OnceLock<Histogram>; 2],
}

const METHODS: [&str; 10] = [
    OTHER, "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT",
];
const OTHER: &str = "other";
const UNMATCHED: &str = "unmatched";

/// The classes of status codes, by their first digit.
const CLASSES: [&str; 6] = [OTHER, "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The sizes of the bodies of requests and responses.
static BODIES: [Family; 2] = [catalog::REQUEST_BODIES, catalog::RESPONSE_BODIES];

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    pub(crate) method: &'a Method,
    /// The template of its route, if it has one.
    pub(crate) route: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    /// The lengths of the bodies of request and response, if they are known. An empty body is not counted.
    pub(crate) bodies: [Option<u64>; 2],
}

/// Counts a request as active until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Recorder);

impl Recorder {
    #[must_use = "the request is active until this is dropped"]
    pub(crate) fn begin(self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Counts a request that was refused because of overload.
    pub(crate) fn shed(self) {
        self.0.shed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn write(self, text: &mut Text) {
        let in_flight = self.0.in_flight.load(Ordering::Relaxed);
        text.value(&catalog::ACTIVE_REQUESTS, in_flight);
        let shed = self.0.shed.load(Ordering::Relaxed);
        text.value(&catalog::REQUESTS_SHED, shed);
        let mut all = Vec::new();
        for (method, series) in METHODS.into_iter().zip(&self.0.series) {
            let series = series.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(
                series
                    .iter()
                    .map(|(route, it)| (method, route.clone(), *it)),
            );
        }
        let mut durations = text.family(&catalog::REQUEST_DURATION);
        for (method, route, series) in &all {
            for (class, durations_of_class) in CLASSES.iter().zip(&series.durations) {
                durations.histogram(&[method, route, class], durations_of_class.get());
            }
        }
        for (index, family) in BODIES.iter().enumerate() {
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

impl InFlight {
    /// Records a request that has ended.
    pub(crate) fn ended(&self, request: &Ended<'_>) {
        let method = METHODS.iter().position(|it| *it == request.method.as_str());
        let route = request.route.unwrap_or(UNMATCHED);
        let series = self.0.series(method.unwrap_or(0), route);
        let class = usize::from(request.status / 100);
        series.durations[if class < CLASSES.len() { class } else { 0 }]
            .get_or_init(Histogram::of_durations)
            .record(request.took.as_secs_f64());
        for (sizes, length) in series.bodies.iter().zip(request.bodies) {
            if let Some(length @ 1..) = length {
                #[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
                sizes.get_or_init(Histogram::of_sizes).record(length as f64);
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
