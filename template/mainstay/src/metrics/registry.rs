//! The recorder behind the macros of the crate `metrics`. It keeps every series that is recorded where
//! something happens: those of the service, and those of the edge.
//!
//! A series takes constant memory, however many values it records.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use metrics::{Counter, Gauge, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};

use super::catalog::Family;
use super::histogram::Histogram;
use super::text::Text;

/// All clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    help: RwLock<HashMap<KeyName, SharedString>>,
    counters: Series<AtomicU64>,
    /// The bits of an `f64` each.
    gauges: Series<AtomicU64>,
    histograms: Series<Histogram>,
}

type Series<T> = RwLock<BTreeMap<Key, Arc<T>>>;

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

    pub(super) fn describe(&self, name: KeyName, help: SharedString) {
        let all = self.0.help.write();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.insert(name, help);
    }

    /// A histogram of a family of the machinery.
    pub(super) fn family_histogram(&self, family: &Family, labels: &[&str]) -> Arc<Histogram> {
        let labels = family.labels.iter().zip(labels);
        let labels = labels.map(|(name, value)| Label::new(*name, (*value).to_owned()));
        self.histogram(&Key::from_parts(family.name, labels.collect::<Vec<_>>()))
    }

    fn histogram(&self, key: &Key) -> Arc<Histogram> {
        get(&self.0.histograms, key, || Histogram::named(key.name()))
    }

    /// Writes all series. Of families with the same name and different kinds, the first kind counts.
    pub(super) fn write(&self, text: &mut Text) {
        let Inner {
            counters,
            gauges,
            histograms,
            ..
        } = &*self.0;
        let known = &mut HashSet::new();
        self.write_kind(
            text,
            known,
            "counter",
            counters,
            |text, name, labels, it| {
                text.sample(name, labels, it.load(Ordering::Relaxed));
            },
        );
        self.write_kind(text, known, "gauge", gauges, |text, name, labels, it| {
            text.sample(name, labels, f64::from_bits(it.load(Ordering::Relaxed)));
        });
        self.write_kind(
            text,
            known,
            "histogram",
            histograms,
            |text, name, labels, it| {
                text.histogram(name, labels, &it.counts());
            },
        );
    }

    fn write_kind<T>(
        &self,
        text: &mut Text,
        known: &mut HashSet<String>,
        kind: &str,
        all: &Series<T>,
        write: fn(&mut Text, &str, &[(&str, &str)], &T),
    ) {
        let help = self.0.help.read().unwrap_or_else(PoisonError::into_inner);
        let all = all.read().unwrap_or_else(PoisonError::into_inner);
        let mut family = "";
        for (key, series) in &*all {
            let name = key.name();
            if family != name && known.insert(name.to_owned()) {
                text.head(name, kind, help.get(name).map(|help| &**help));
                family = name;
            }
            if family == name {
                let labels = key.labels().map(|label| (label.key(), label.value()));
                write(text, name, &labels.collect::<Vec<_>>(), series);
            }
        }
    }
}

/// The series of this key, which is new if there is none.
fn get<T>(all: &Series<T>, key: &Key, new: impl FnOnce() -> T) -> Arc<T> {
    let known = all.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(key) {
        return Arc::clone(known);
    }
    drop(known);
    let mut all = all.write().unwrap_or_else(PoisonError::into_inner);
    let series = all.entry(key.to_retained());
    Arc::clone(series.or_insert_with(|| Arc::new(new())))
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
        Counter::from_arc(get(&self.0.counters, key, AtomicU64::default))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(get(&self.0.gauges, key, AtomicU64::default))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.histogram(key))
    }
}
