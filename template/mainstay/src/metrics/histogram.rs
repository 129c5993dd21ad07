//! Counters for many threads: a cell for each few threads, which are summed when the metrics are read. Counting
//! does not allocate, lock, or write to memory that all threads share.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::text::Counts;

/// The bounds of a histogram, and what they are counted in.
#[derive(Debug)]
pub(super) struct Scale {
    /// In the order of their size, in parts of a unit.
    bounds: &'static [u64],
    /// How many parts there are in one unit.
    parts: f64,
}

/// How long a request takes: from half a millisecond to `http.request_timeout` as it is by default.
pub(super) const DURATIONS: Scale = Scale {
    bounds: &[
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        10_000_000_000,
    ],
    parts: 1e9,
};

/// How large a body is.
pub(super) const SIZES: Scale = Scale {
    bounds: &[
        1 << 8,
        1 << 10,
        1 << 12,
        1 << 14,
        1 << 16,
        1 << 18,
        1 << 20,
        1 << 22,
        1 << 24,
        1 << 26,
    ],
    parts: 1.0,
};

impl Scale {
    /// The bounds in whole units.
    pub(super) fn bounds(&self) -> impl Iterator<Item = f64> {
        self.bounds.iter().map(|bound| self.units(*bound))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum that is too large to be exact is large enough"
    )]
    fn units(&self, parts: u64) -> f64 {
        parts as f64 / self.parts
    }
}

/// Two lines of a cache: fourteen buckets, what is beyond them, and the sum.
const CELLS: usize = 16;
const BEYOND: usize = CELLS - 2;
const SUM: usize = CELLS - 1;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Cells([AtomicU64; CELLS]);

/// Values by their size.
#[derive(Debug)]
pub(super) struct Histogram {
    scale: &'static Scale,
    stripes: Box<[Cells]>,
}

impl Histogram {
    pub(super) fn new(scale: &'static Scale) -> Self {
        debug_assert!(scale.bounds.len() <= BEYOND);
        Self {
            scale,
            stripes: striped(),
        }
    }

    pub(super) fn record(&self, value: u64) {
        let bounds = self.scale.bounds.iter();
        let bucket = bounds.into_iter().position(|bound| value <= *bound);
        let cells = &mine(&self.stripes).0;
        cells[bucket.unwrap_or(BEYOND)].fetch_add(1, Ordering::Relaxed);
        cells[SUM].fetch_add(value, Ordering::Relaxed);
    }

    pub(super) fn record_time(&self, time: Duration) {
        self.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn counts(&self) -> Counts {
        let cell = |place: usize| {
            let cells = self.stripes.iter().map(|stripe| &stripe.0[place]);
            cells.fold(0_u64, |sum, cell| {
                sum.wrapping_add(cell.load(Ordering::Relaxed))
            })
        };
        Counts {
            buckets: self
                .scale
                .bounds()
                .enumerate()
                .map(|(place, bound)| (bound, cell(place)))
                .collect(),
            beyond: cell(BEYOND),
            sum: self.scale.units(cell(SUM)),
        }
    }
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

/// A number that goes up, and down again where that is wanted.
#[derive(Debug)]
pub(super) struct Tally(Box<[Cell]>);

impl Tally {
    pub(super) fn new() -> Self {
        Self(striped())
    }

    pub(super) fn up(&self) {
        mine(&self.0).0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn down(&self) {
        mine(&self.0).0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        let cells = self.0.iter().map(|cell| cell.0.load(Ordering::Relaxed));
        let sum = cells.fold(0, u64::wrapping_add);
        // What went up on one thread may have been seen only when it came down on another.
        sum.cast_signed().max(0).cast_unsigned()
    }
}

/// One for each thread that runs at the same time as others, up to a number that is worth its memory.
fn striped<T: Default>() -> Box<[T]> {
    static STRIPES: LazyLock<usize> = LazyLock::new(|| {
        let threads = thread::available_parallelism();
        threads.map_or(1, |threads| threads.get().min(8))
    });
    (0..*STRIPES).map(|_| T::default()).collect()
}

/// The one that this thread counts on.
fn mine<T>(stripes: &[T]) -> &T {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that ends has no place any more.
    let place = PLACE.try_with(|place| *place).unwrap_or(0);
    &stripes[place % stripes.len()]
}
