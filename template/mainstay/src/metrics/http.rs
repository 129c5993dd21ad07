//! The metrics of requests.
//!
//! - There are as many series as the service has routes: a path without a route counts as `unmatched`, and a
//!   method that HTTP does not define as `other`.
//! - A series is created on first use. From then on, recording allocates nothing, and shares its only lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use axum::http::Method;
use metrics::HistogramFn;

use super::catalog::{self, Family};
use super::registry::{Histogram, Registry};
use super::text::Text;

/// Records requests. All copies are the same. It is never freed: a reference count would be one more value
/// that all threads write to.
#[derive(Debug, Clone, Copy)]
pub struct Recorder(&'static Inner);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    in_flight: AtomicUsize,
    shed: AtomicU64,
    /// The series of each route. Routes are in the code of the service, so that there are few.
    routes: RwLock<HashMap<Box<str>, &'static Route>>,
}

/// The histograms of a route, by method.
type Route = [Series; METHODS.len()];

/// The histograms of one method and route.
#[derive(Debug, Default)]
struct Series {
    durations: [OnceLock<Arc<Histogram>>; CLASSES.len()],
    bodies: [OnceLock<Arc<Histogram>>; 2],
}

const METHODS: [&str; 10] = [
    OTHER, "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT",
];
const OTHER: &str = "other";
const UNMATCHED: &str = "unmatched";

/// The classes of status codes, by their first digit.
const CLASSES: [&str; 6] = [OTHER, "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The sizes of the bodies of requests and responses.
const BODIES: [Family; 2] = [catalog::REQUEST_BODIES, catalog::RESPONSE_BODIES];

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
    pub(super) fn of(registry: Registry) -> Self {
        for family in [catalog::REQUEST_DURATION].iter().chain(&BODIES) {
            registry.describe(family.name.into(), family.help.into());
        }
        Self(Box::leak(Box::new(Inner {
            in_flight: AtomicUsize::new(0),
            shed: AtomicU64::new(0),
            routes: RwLock::default(),
            registry,
        })))
    }

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
    }
}

impl InFlight {
    /// Records a request that has ended.
    pub(crate) fn ended(&self, request: &Ended<'_>) {
        let inner = self.0.0;
        let method = METHODS.iter().position(|it| *it == request.method.as_str());
        let (method, route) = (method.unwrap_or(0), request.route.unwrap_or(UNMATCHED));
        let series = &inner.route(route)[method];
        let method = METHODS[method];
        let class = usize::from(request.status / 100);
        let class = if class < CLASSES.len() { class } else { 0 };
        let new = |family, labels: &[&str]| inner.registry.family_histogram(family, labels);
        series.durations[class]
            .get_or_init(|| new(&catalog::REQUEST_DURATION, &[method, route, CLASSES[class]]))
            .record(request.took.as_secs_f64());
        for (body, length) in request.bodies.into_iter().enumerate() {
            if let Some(length @ 1..) = length {
                #[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
                series.bodies[body]
                    .get_or_init(|| new(&BODIES[body], &[method, route]))
                    .record(length as f64);
            }
        }
    }
}

impl Inner {
    fn route(&self, route: &str) -> &'static Route {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = routes.get(route) {
            return known;
        }
        drop(routes);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes
            .entry(route.into())
            .or_insert_with(|| Box::leak(Box::default()))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A recorder that belongs to no process, for a test.
impl Default for Recorder {
    fn default() -> Self {
        Self::of(Registry::default())
    }
}
