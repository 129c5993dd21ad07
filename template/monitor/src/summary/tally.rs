//! Counts the checks for a summary, in memory that does not grow with their number.
//!
//! For each target: the number of checks, how many were up, and a histogram of their latencies. Up to 64 ms
//! each millisecond has its own bucket. Beyond that, each doubling has 32 buckets, so that a percentile is at
//! most 1.6 % away from the exact one.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use crate::timestamp::Timestamp;

/// A check, as far as it is counted.
#[derive(Debug, Clone, Copy, FromRow)]
pub(super) struct Check {
    pub(super) due_at: Timestamp,
    pub(super) target_id: i64,
    pub(super) is_up: bool,
    pub(super) latency_ms: i32,
}

/// The counts, by target.
#[derive(Debug, Default)]
pub(super) struct Tally(HashMap<i64, Counts>);

#[derive(Debug, Default)]
struct Counts {
    checks: u64,
    up: u64,
    latencies: Latencies,
}

/// The most targets with figures of their own.
pub(super) const WORST: usize = 100;

/// The figures of some checks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(super) struct Figures {
    checks: u64,
    /// How many were up.
    up: u64,
    /// Their share; absent without checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, required = false, minimum = 0, maximum = 1, example = 0.998)]
    availability: Option<f64>,
    /// The latencies of checks that were up; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Percentiles, required = false)]
    latency_ms: Option<Percentiles>,
}

/// Percentiles in milliseconds, within 1.6 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Percentiles {
    p50: u32,
    p90: u32,
    p99: u32,
}

/// The figures of one target.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct OfTarget {
    /// The id of the target.
    target: i64,
    figures: Figures,
}

/// The result of a tally.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Totals {
    pub(super) all: Figures,
    pub(super) targets: usize,
    /// The targets with the lowest availability, then the highest latency.
    pub(super) worst: Vec<OfTarget>,
}

impl Tally {
    pub(super) fn add(&mut self, checks: &[Check]) {
        for check in checks {
            let counts = self.0.entry(check.target_id).or_default();
            counts.checks += 1;
            if check.is_up {
                counts.up += 1;
                counts.latencies.add(check.latency_ms);
            }
        }
    }

    pub(super) fn totals(self) -> Totals {
        let mut all = Counts::default();
        let mut worst = Vec::with_capacity(self.0.len());
        for (target, counts) in &self.0 {
            all.include(counts);
            let figures = counts.figures();
            worst.push(OfTarget {
                target: *target,
                figures,
            });
        }
        worst.sort_by(|a, b| {
            let up = |it: &OfTarget| it.figures.availability.unwrap_or_default();
            let slow = |it: &OfTarget| Reverse(it.figures.latency_ms.map(|latency| latency.p99));
            let by_up = up(a).total_cmp(&up(b));
            by_up.then_with(|| (slow(a), a.target).cmp(&(slow(b), b.target)))
        });
        worst.truncate(WORST);
        Totals {
            all: all.figures(),
            targets: self.0.len(),
            worst,
        }
    }
}

impl Counts {
    fn include(&mut self, other: &Self) {
        self.checks += other.checks;
        self.up += other.up;
        self.latencies.include(&other.latencies);
    }

    fn figures(&self) -> Figures {
        Figures {
            checks: self.checks,
            up: self.up,
            availability: (self.checks > 0).then(|| share(self.up, self.checks)),
            latency_ms: self.latencies.percentiles(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a number of checks is far below the precision of a float"
)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// A histogram of milliseconds, up to the longest value.
#[derive(Debug, Default)]
struct Latencies(Vec<u64>);

/// The number of buckets for each doubling, as a power of two.
const FINENESS: u32 = 5;

impl Latencies {
    fn add(&mut self, millis: i32) {
        let bucket = bucket(u32::try_from(millis).unwrap_or_default());
        if bucket >= self.0.len() {
            self.0.resize(bucket + 1, 0);
        }
        self.0[bucket] += 1;
    }

    fn include(&mut self, other: &Self) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let count: u64 = self.0.iter().sum();
        (count > 0).then(|| {
            let at = |percent: u64| self.at((count * percent).div_ceil(100));
            Percentiles {
                p50: at(50),
                p90: at(90),
                p99: at(99),
            }
        })
    }

    /// The value with this rank, from the shortest.
    fn at(&self, rank: u64) -> u32 {
        let mut seen = 0;
        let reaches = |count: &u64| {
            seen += count;
            seen >= rank
        };
        middle(self.0.iter().position(reaches).unwrap_or_default())
    }
}

/// How often the width of a bucket is doubled, for a value of this many bits.
fn doublings(millis: u32) -> u32 {
    (u32::BITS - millis.leading_zeros()).saturating_sub(FINENESS + 1)
}

fn bucket(millis: u32) -> usize {
    let doublings = doublings(millis);
    let bucket = (doublings << FINENESS) + (millis >> doublings);
    usize::try_from(bucket).unwrap_or_default()
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u32 {
    let bucket = u32::try_from(bucket).unwrap_or_default();
    let doublings = (bucket >> FINENESS).saturating_sub(1);
    let lowest = (bucket - (doublings << FINENESS)) << doublings;
    lowest + ((1 << doublings) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target_id: i64, is_up: bool, latency_ms: i32) -> Check {
        Check {
            due_at: Timestamp(0),
            target_id,
            is_up,
            latency_ms,
        }
    }

    fn totals(checks: &[Check]) -> Totals {
        let mut tally = Tally::default();
        // Also one by one.
        checks.chunks(7).for_each(|some| tally.add(some));
        tally.totals()
    }

    #[test]
    fn bucket_holds_values_near_its_middle() {
        let mut last = 0;
        let all = (0..100_000).chain((17..31).map(|bits| (1 << bits) - 1));
        for millis in all.chain([i32::MAX.cast_unsigned()]) {
            let found = bucket(millis);
            assert!(found >= last, "{millis}");
            assert!(millis > 100_000 || found - last <= 1, "{millis}");
            last = found;
            let error = middle(found).abs_diff(millis);
            assert!(error * 64 <= millis, "{millis} as {}", middle(found));
        }
        assert!(last < 1000, "few, whatever comes: {last}");
    }

    #[test]
    fn percentiles_are_within_the_documented_error() {
        fastrand::seed(7);
        for count in [1, 2, 3, 9, 10, 11, 99, 100, 101, 5000] {
            let mut exact: Vec<_> = (0..count).map(|_| 1 << fastrand::u32(0..25)).collect();
            for millis in &mut exact {
                *millis += fastrand::i32(0..*millis);
            }
            let checks: Vec<_> = exact.iter().map(|millis| check(1, true, *millis)).collect();
            let found = totals(&checks).all.latency_ms.unwrap();
            exact.sort_unstable();
            for (percent, found) in [(50_usize, found.p50), (90, found.p90), (99, found.p99)] {
                let rank = (count * percent).div_ceil(100);
                let exact = exact[rank - 1].cast_unsigned();
                assert!(found.abs_diff(exact) * 64 <= exact, "{found} for {exact}");
            }
        }
        let few: Vec<_> = (1..=60).map(|millis| check(1, true, millis)).collect();
        let exact = Percentiles {
            p50: 30,
            p90: 54,
            p99: 60,
        };
        assert_eq!(totals(&few).all.latency_ms, Some(exact));
    }

    #[test]
    fn down_counts_for_availability_only() {
        let checks = [
            check(1, true, 10),
            check(1, false, 9999),
            check(2, true, 20),
        ];
        let totals = totals(&checks);
        assert_eq!(
            (totals.targets, totals.all.checks, totals.all.up),
            (2, 3, 2)
        );
        assert_eq!(totals.all.availability, Some(2.0 / 3.0));
        let of_one = totals.worst[0].figures;
        assert_eq!(
            (totals.worst[0].target, of_one.availability),
            (1, Some(0.5))
        );
        assert_eq!(of_one.latency_ms.unwrap().p99, 10);
    }

    #[test]
    fn no_checks_have_no_availability_and_no_latency() {
        let none = totals(&[]);
        assert_eq!((none.all.availability, none.all.latency_ms), (None, None));
        let down = totals(&[check(1, false, 0)]);
        assert_eq!(
            (down.all.availability, down.all.latency_ms),
            (Some(0.0), None)
        );
    }

    #[test]
    fn worst_targets_are_ordered_by_availability_and_latency() {
        let mut checks = vec![check(1, true, 10), check(2, true, 50), check(3, false, 0)];
        checks.extend([check(4, true, 30), check(4, false, 0)]);
        let order = |totals: &Totals| totals.worst.iter().map(|it| it.target).collect::<Vec<_>>();
        assert_eq!(order(&totals(&checks)), [3, 4, 2, 1]);

        checks.extend((5..500).map(|target| check(target, true, 1)));
        let totals = totals(&checks);
        assert_eq!((totals.targets, totals.worst.len()), (499, WORST));
        assert_eq!(order(&totals)[..5], [3, 4, 2, 1, 5]);
    }
}
