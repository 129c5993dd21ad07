//! The recorder behind the macros of the crate `metrics`. It keeps every series that is recorded where
//! something happens: those of the service, and those of the edge.
//!
//! A series takes constant memory, however many values it records.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use metrics::{
    Counter, Gauge, GaugeFn, HistogramFn, Key, KeyName, Label, Metadata, Recorder, SharedString,
    Unit,
};

use super::catalog::Family;
use super::text::{Buckets, Text};

/// All clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    help: HashMap<KeyName, SharedString>,
    series: BTreeMap<Key, Series>,
}

#[derive(Debug, Clone)]
enum Series {
    Counter(Arc<AtomicU64>),
    /// The bits of an `f64`.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Histogram>),
}

impl Registry {
    /// The registry of the process. If the service has installed another recorder, that one gets what the
    /// macros record.
    pub(super) fn install() -> Self {
        static INSTALLED: OnceLock<Registry> = OnceLock::new();
        let installed = INSTALLED.get_or_init(|| {
            let registry = Self::default();
            _ = metrics::set_global_recorder(registry.clone());
            registry
        });
        installed.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn describe(&self, name: KeyName, help: SharedString) {
        self.change().help.insert(name, help);
    }

    /// A histogram of a family of the machinery.
    pub(super) fn family_histogram(&self, family: &Family, labels: &[&str]) -> Arc<Histogram> {
        let labels = family.labels.iter().zip(labels);
        let labels = labels.map(|(name, value)| Label::new(*name, (*value).to_owned()));
        self.histogram(&Key::from_parts(family.name, labels.collect::<Vec<_>>()))
    }

    fn histogram(&self, key: &Key) -> Arc<Histogram> {
        let new = || Arc::new(Histogram::named(key.name()));
        match self.get(key, || Series::Histogram(new())) {
            Series::Histogram(histogram) => histogram,
            // It is written nowhere.
            _ => new(),
        }
    }

    /// The series of this key, which is new if there is none.
    fn get(&self, key: &Key, new: impl FnOnce() -> Series) -> Series {
        if let Some(known) = self.read().series.get(key) {
            return known.clone();
        }
        let mut inner = self.change();
        let series = inner.series.entry(key.to_retained());
        series.or_insert_with(new).clone()
    }

    /// Writes all series. Of series with the same name and different kinds, the kind of the first counts.
    pub(super) fn write(&self, text: &mut Text) {
        let Inner { help, series } = &*self.read();
        let mut family = ("", "");
        for (key, series) in series {
            let (name, kind) = (key.name(), series.kind());
            if family.0 != name {
                text.head(name, kind, help.get(name).map(|help| &**help));
                family = (name, kind);
            }
            if family.1 != kind {
                continue;
            }
            let labels = key.labels().map(|label| (label.key(), label.value()));
            let labels: Vec<_> = labels.collect();
            match series {
                Series::Counter(count) => text.sample(name, &labels, count.load(Ordering::Relaxed)),
                Series::Gauge(bits) => {
                    let value = f64::from_bits(bits.load(Ordering::Relaxed));
                    text.sample(name, &labels, value);
                }
                Series::Histogram(histogram) => text.histogram(name, &labels, &histogram.counts()),
            }
        }
    }
}

impl Series {
    /// As in the text format.
    fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A series that has another kind already records nothing.
impl Recorder for Registry {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(name, help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(name, help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(name, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.get(key, || Series::Counter(Arc::default())) {
            Series::Counter(count) => Counter::from_arc(count),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.get(key, || Series::Gauge(Arc::default())) {
            Series::Gauge(bits) => Gauge::from_arc(bits),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.histogram(key))
    }
}

/// The bounds of durations, in seconds: from half a millisecond to the default of `http.request_timeout`.
const DURATIONS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A histogram for many threads. It keeps counts, and no values: recording allocates nothing and takes no lock.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: Box<[f64]>,
    /// The values of each bucket alone, and behind the last bound.
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram of sizes if the name ends in `_bytes`, and of durations otherwise.
    pub(super) fn named(name: &str) -> Self {
        let bounds: Box<[f64]> = if name.ends_with("_bytes") {
            // From 256 bytes to 64 MiB.
            (4..=13).map(|power| 4_f64.powi(power)).collect()
        } else {
            DURATIONS.into()
        };
        Self {
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            bounds,
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn counts(&self) -> Buckets {
        let counts = self.counts.iter();
        Buckets {
            bounds: self.bounds.to_vec(),
            counts: counts.map(|it| it.load(Ordering::Relaxed)).collect(),
            sum: f64::from_bits(self.sum.load(Ordering::Relaxed)),
        }
    }
}

impl HistogramFn for Histogram {
    fn record(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        GaugeFn::increment(&self.sum, value);
    }
}
