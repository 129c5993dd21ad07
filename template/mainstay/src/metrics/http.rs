//! What the edge records of each request.
//!
//! - There are as many series as there are routes, and not more because of what a client sends: paths
//!   that nothing answers to are one route, `unmatched`, and methods that are not HTTP's own are one,
//!   `other`.
//! - A series is made when it is first needed. From then on, recording allocates nothing, and takes no
//!   lock.
//! - A request is in flight until its [`InFlight`] is dropped, however that comes about.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use axum::http::Method;

use super::catalog;
use super::histogram::{DURATIONS, Histogram, SIZES, Tally};
use super::text::Text;

/// Records requests. All copies are the same. It is never freed: a reference count would be one more value
/// that all threads write to.
#[derive(Clone, Copy)]
pub struct Recorder(&'static Inner);

struct Inner {
    in_flight: Tally,
    shed: Tally,
    /// A table by the name's hash: a route is where its hash says, or in the next place that was free.
    routes: Box<[OnceLock<Box<Route>>]>,
    unmatched: Route,
}

/// More routes than a service has. Those beyond would be one, `unmatched`.
const ROOM: usize = 1024;

struct Route {
    name: Box<str>,
    methods: [OnceLock<Box<Series>>; METHODS.len()],
}

struct Series {
    durations: [OnceLock<Histogram>; CLASSES.len()],
    bodies: [OnceLock<Histogram>; 2],
}

/// Those that have a name. The last is for all others.
const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "other",
];

/// By a status's first digit. The first is for all that begins with no such digit.
const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// A request as it was when it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    pub(crate) method: &'a Method,
    /// The template of its route, if it has one.
    pub(crate) route: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    /// The lengths of its body and of its answer's, where they are known. One that is empty is none.
    pub(crate) bodies: [Option<u64>; 2],
}

/// A request in flight, until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Recorder);

impl Recorder {
    pub(crate) fn new() -> Self {
        Self(Box::leak(Box::new(Inner {
            in_flight: Tally::new(),
            shed: Tally::new(),
            routes: (0..ROOM).map(|_| OnceLock::new()).collect(),
            unmatched: Route::named("unmatched"),
        })))
    }

    /// A request has come in.
    #[must_use = "it is in flight for as long as this is there"]
    pub(crate) fn begin(self) -> InFlight {
        self.0.in_flight.up();
        InFlight(self)
    }

    /// A request was refused, since there is too much to do.
    pub(crate) fn shed(self) {
        self.0.shed.up();
    }

    pub(super) fn write(self, text: &mut Text) {
        let mut durations = text.family(&catalog::REQUEST_DURATION);
        self.each(|route, method, series| {
            for (class, histogram) in CLASSES.into_iter().zip(&series.durations) {
                if let Some(histogram) = histogram.get() {
                    durations.histogram(&[method, route, class], &histogram.counts());
                }
            }
        });
        let in_flight = self.0.in_flight.now();
        text.family(&catalog::ACTIVE_REQUESTS)
            .sample(&[], in_flight);
        let families = [&catalog::REQUEST_BODIES, &catalog::RESPONSE_BODIES];
        for (which, family) in families.into_iter().enumerate() {
            let mut bodies = text.family(family);
            self.each(|route, method, series| {
                if let Some(histogram) = series.bodies[which].get() {
                    bodies.histogram(&[method, route], &histogram.counts());
                }
            });
        }
        let shed = self.0.shed.now();
        text.family(&catalog::REQUESTS_SHED).sample(&[], shed);
    }

    fn each(self, mut look: impl FnMut(&str, &str, &Series)) {
        let routes = self.0.routes.iter().filter_map(OnceLock::get);
        for route in routes.map(|route| &**route).chain([&self.0.unmatched]) {
            for (method, series) in METHODS.into_iter().zip(&route.methods) {
                if let Some(series) = series.get() {
                    look(&route.name, method, series);
                }
            }
        }
    }
}

impl InFlight {
    /// Records the request, which has ended.
    pub(crate) fn ended(&self, request: &Ended<'_>) {
        let series = self.0.0.route(request.route).series(request.method);
        series.durations[class(request.status)]
            .get_or_init(|| Histogram::new(&DURATIONS))
            .record_time(request.took);
        for (length, histogram) in request.bodies.into_iter().zip(&series.bodies) {
            if let Some(length) = length.filter(|length| *length > 0) {
                histogram
                    .get_or_init(|| Histogram::new(&SIZES))
                    .record(length);
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.down();
    }
}

impl Inner {
    fn route(&self, name: Option<&str>) -> &Route {
        let Some(name) = name else {
            return &self.unmatched;
        };
        let (before, after) = self.routes.split_at(place(name));
        for slot in after.iter().chain(before) {
            let route = slot.get_or_init(|| Box::new(Route::named(name)));
            // It may be another one's, also if there was none a moment ago.
            if *route.name == *name {
                return route;
            }
        }
        &self.unmatched
    }
}

/// Where a route is, if it found its place free. The names are the service's own: nobody has an
/// interest in many that are in one place.
fn place(name: &str) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_bytes().as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]);
    let mixed = words.fold(0_u64, |mixed, word| {
        (mixed.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD)
    });
    // The upper half has something of every letter.
    usize::try_from(mixed >> 32).map_or(0, |mixed| mixed % ROOM)
}

impl Route {
    fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            methods: [const { OnceLock::new() }; METHODS.len()],
        }
    }

    fn series(&self, method: &Method) -> &Series {
        let others = METHODS.len() - 1;
        let named = METHODS[..others].iter();
        let place = named.into_iter().position(|name| *name == method.as_str());
        self.methods[place.unwrap_or(others)].get_or_init(|| {
            Box::new(Series {
                durations: [const { OnceLock::new() }; CLASSES.len()],
                bodies: [const { OnceLock::new() }; 2],
            })
        })
    }
}

fn class(status: u16) -> usize {
    let digit = usize::from(status / 100);
    if digit < CLASSES.len() { digit } else { 0 }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("in_flight", &self.0.in_flight.now())
            .finish_non_exhaustive()
    }
}
