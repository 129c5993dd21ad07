//! A histogram for many threads. It keeps counts, and no values: recording allocates nothing and takes no lock.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{GaugeFn, HistogramFn};

use super::text::Buckets;

/// The bounds of durations, in seconds: from half a millisecond to the default of `http.request_timeout`.
const DURATIONS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The bounds of sizes, in bytes: from 256 bytes to 64 MiB, in powers of four.
const SIZES: &[f64] = &[
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    /// The values of each bucket alone, and behind the last bound.
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram of sizes if the name ends in `_bytes`, and of durations otherwise.
    pub(super) fn named(name: &str) -> Self {
        let is_size = name.ends_with("_bytes");
        let bounds = if is_size { SIZES } else { DURATIONS };
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn counts(&self) -> Buckets {
        let counts = self.counts.iter();
        Buckets {
            bounds: self.bounds.into(),
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
