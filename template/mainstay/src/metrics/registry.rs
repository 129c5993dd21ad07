//! The recorder behind the macros of the crate `metrics`: the series of the service.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard};

use metrics::{Counter, Gauge, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::histogram::Histogram;
use super::text::Text;

/// Clones share their state.
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
    /// If the service has installed another recorder, that one gets what the macros record.
    pub(super) fn install() -> Self {
        static INSTALLED: LazyLock<Registry> = LazyLock::new(|| {
            let registry = Registry::default();
            _ = metrics::set_global_recorder(registry.clone());
            registry
        });
        INSTALLED.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, name: KeyName, help: SharedString) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.help.insert(name, help);
    }

    fn get(&self, key: &Key, new: impl FnOnce() -> Series) -> Series {
        if let Some(known) = self.read().series.get(key) {
            return known.clone();
        }
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let series = inner.series.entry(key.to_retained());
        series.or_insert_with(new).clone()
    }

    /// Writes all series. Of series with the same name and different kinds, the kind of the first counts.
    pub(super) fn write(&self, text: &mut Text) {
        let Inner { help, series } = &*self.read();
        let mut family = ("", "");
        for (key, series) in series {
            let name = key.name();
            let kind = match series {
                Series::Counter(_) => "counter",
                Series::Gauge(_) => "gauge",
                Series::Histogram(_) => "histogram",
            };
            if family.0 != name {
                text.head(name, kind, help.get(name).map(|help| &**help));
                family = (name, kind);
            }
            if family.1 != kind {
                continue;
            }
            let labels = key.labels().map(|label| (label.key(), label.value()));
            let labels = &*labels.collect::<Vec<_>>();
            match series {
                Series::Counter(count) => text.sample(name, labels, count.load(Relaxed)),
                Series::Gauge(bits) => {
                    text.sample(name, labels, f64::from_bits(bits.load(Relaxed)));
                }
                Series::Histogram(histogram) => text.histogram(name, labels, histogram),
            }
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
        let new = if key.name().ends_with("_bytes") {
            Histogram::of_sizes
        } else {
            Histogram::default
        };
        match self.get(key, || Series::Histogram(Arc::new(new()))) {
            Series::Histogram(histogram) => metrics::Histogram::from_arc(histogram),
            _ => metrics::Histogram::noop(),
        }
    }
}
