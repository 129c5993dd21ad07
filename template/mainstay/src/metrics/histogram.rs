//! A histogram for many threads. It keeps counts, and no values: recording allocates nothing and takes no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use metrics::{GaugeFn, HistogramFn};

#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: Box<[f64]>,
    /// The values of each bucket alone, and behind the last bound.
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// From 256 bytes to 64 MiB.
    pub(super) fn of_sizes() -> Self {
        Self::with((4..=13).map(|power| 4_f64.powi(power)).collect())
    }

    fn with(bounds: Box<[f64]>) -> Self {
        Self {
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            bounds,
            sum: AtomicU64::new(0),
        }
    }

    /// The upper bound of each bucket, the last one infinite, with the count of its values alone.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (String, u64)> {
        let bounds = self.bounds.iter().map(f64::to_string);
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        bounds.chain(["+Inf".to_owned()]).zip(counts)
    }

    pub(super) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Relaxed))
    }
}

impl HistogramFn for Histogram {
    fn record(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        GaugeFn::increment(&self.sum, value);
    }
}

impl Default for Histogram {
    /// Of seconds, from half a millisecond to the default of `http.request_timeout`.
    fn default() -> Self {
        Self::with(Box::new([
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ]))
    }
}
