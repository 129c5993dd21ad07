//! The recorder behind the macros of the crate `metrics`. It keeps every series that is recorded where
//! something happens: those of the service, and those of the edge.
//!
//! A series takes constant memory, however many values it records.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use metrics::{Counter, Gauge, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};

use super::catalog::{Family, Kind};
use super::histogram::Histogram;
use super::text::Text;

/// All clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    help: RwLock<HashMap<KeyName, SharedString>>,
    series: RwLock<BTreeMap<Key, Series>>,
}

#[derive(Debug, Clone)]
enum Series {
    Counter(Arc<AtomicU64>),
    /// The bits of an `f64`.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Histogram>),
}

impl Series {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }
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

    /// Describes a family of the machinery.
    pub(super) fn describe_family(&self, family: &'static Family) {
        self.describe(family.name.into(), family.help.into());
    }

    /// A histogram of a family of the machinery.
    pub(super) fn histogram(&self, family: &'static Family, labels: &[&str]) -> Arc<Histogram> {
        let labels = family.labels.iter().zip(labels);
        let labels = labels.map(|(name, value)| Label::new(*name, (*value).to_owned()));
        let key = Key::from_parts(family.name, labels.collect::<Vec<_>>());
        match self.series(&key, Kind::Histogram) {
            Series::Histogram(histogram) => histogram,
            Series::Counter(_) | Series::Gauge(_) => Arc::new(Histogram::named(family.name)),
        }
    }

    /// The series of this key, which is new if there is none. It has another kind if the first use of the key
    /// had.
    fn series(&self, key: &Key, kind: Kind) -> Series {
        let all = self.0.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = all.get(key) {
            return series.clone();
        }
        drop(all);
        let new = || match kind {
            Kind::Counter => Series::Counter(Arc::default()),
            Kind::Gauge => Series::Gauge(Arc::default()),
            Kind::Histogram => Series::Histogram(Arc::new(Histogram::named(key.name()))),
        };
        let all = self.0.series.write();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.entry(key.to_retained()).or_insert_with(new).clone()
    }

    fn describe(&self, name: KeyName, help: SharedString) {
        let all = self.0.help.write();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.insert(name, help);
    }

    /// Writes all series. A series whose kind is not that of its family is left out.
    pub(super) fn write(&self, text: &mut Text) {
        let help = self.0.help.read().unwrap_or_else(PoisonError::into_inner);
        let all = self.0.series.read();
        // A copy, so that no thread waits until the text is written.
        let all = all.unwrap_or_else(PoisonError::into_inner).clone();
        let mut family = ("", Kind::Counter);
        for (key, series) in &all {
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
                Series::Counter(counter) => {
                    text.sample(name, &labels, counter.load(Ordering::Relaxed));
                }
                Series::Gauge(gauge) => {
                    let value = f64::from_bits(gauge.load(Ordering::Relaxed));
                    text.sample(name, &labels, value);
                }
                Series::Histogram(histogram) => text.histogram(name, &labels, &histogram.counts()),
            }
        }
    }
}

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
        match self.series(key, Kind::Counter) {
            Series::Counter(counter) => Counter::from_arc(counter),
            Series::Gauge(_) | Series::Histogram(_) => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.series(key, Kind::Gauge) {
            Series::Gauge(gauge) => Gauge::from_arc(gauge),
            Series::Counter(_) | Series::Histogram(_) => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        match self.series(key, Kind::Histogram) {
            Series::Histogram(histogram) => metrics::Histogram::from_arc(histogram),
            Series::Counter(_) | Series::Gauge(_) => metrics::Histogram::noop(),
        }
    }
}
