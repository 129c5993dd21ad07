//! A histogram for many threads. Recording a value allocates nothing and takes no lock.
//!
//! Each histogram has several stripes, and each thread writes to one of them, so that threads rarely share a
//! cache line. A scrape adds the stripes up. No single value is kept.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use metrics::{GaugeFn, HistogramFn};

use super::text::Counts;

/// The bounds of durations, in seconds: from half a millisecond to the default of `http.request_timeout`.
const DURATIONS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The bounds of sizes, in bytes.
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

const STRIPES: usize = 8;

/// A stripe is two cache lines: up to fourteen buckets, the overflow bucket, and the sum.
const CELLS: usize = 16;
const OVERFLOW: usize = CELLS - 2;
const SUM: usize = CELLS - 1;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; CELLS]);

#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    stripes: [Stripe; STRIPES],
}

impl Histogram {
    /// A histogram of sizes if the name ends in `_bytes`, and of durations otherwise.
    pub(super) fn named(name: &str) -> Self {
        let is_size = name.ends_with("_bytes");
        Self {
            bounds: if is_size { SIZES } else { DURATIONS },
            stripes: Default::default(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let cells = |cell: usize| {
            let stripes = self.stripes.iter();
            stripes.map(move |stripe| stripe.0[cell].load(Ordering::Relaxed))
        };
        let buckets = self.bounds.iter().enumerate();
        Counts {
            buckets: buckets
                .map(|(cell, bound)| (*bound, cells(cell).sum()))
                .collect(),
            overflow: cells(OVERFLOW).sum(),
            sum: cells(SUM).map(f64::from_bits).sum(),
        }
    }
}

impl HistogramFn for Histogram {
    fn record(&self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound);
        let cells = &self.stripes[own_stripe()].0;
        cells[bucket.unwrap_or(OVERFLOW)].fetch_add(1, Ordering::Relaxed);
        GaugeFn::increment(&cells[SUM], value);
    }
}

/// The stripe of the current thread.
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    // It is gone while the thread ends.
    OWN.try_with(|stripe| *stripe).unwrap_or(0)
}
