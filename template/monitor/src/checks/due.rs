//! A check that this process has claimed, and its end.

use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::probe::Verdict;
use crate::timestamp::{Timestamp, millis};

/// A check that is due.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) target: i64,
    pub(super) url: Url,
    pub(super) timeout: Duration,
    pub(super) interval: Duration,
    /// The time for which it was scheduled. It also shows whether this process still holds the lease.
    pub(super) at: Timestamp,
    /// The check ends by then, because another process may claim it afterwards.
    pub(super) deadline: Instant,
}

/// The end of a check.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) due: Due,
    pub(super) end: End,
}

#[derive(Debug, Clone)]
pub(super) enum End {
    Checked {
        at: Timestamp,
        verdict: Verdict,
    },
    /// There was no room for it: it stays due.
    Postponed,
}

impl Due {
    /// The time of the next check. Missed periods are skipped. Jitter spreads the checks of targets with
    /// equal intervals.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        let interval = millis(self.interval).max(1);
        // It is in the future if the clock was set back.
        let at = self.at.0.min(now.0);
        let periods = (now.0 - at) / interval + 1;
        let jitter = (fastrand::f64() - 0.5) * 2.0 * JITTER;
        let next = Timestamp(at + periods * interval);
        let moved = self.interval.mul_f64(jitter.abs());
        let next = if jitter < 0.0 {
            next.before(moved)
        } else {
            next.after(moved)
        };
        next.max(now)
    }
}

/// The jitter, as a share of the interval.
const JITTER: f64 = 0.05;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The check of this target, due now, with an interval of a minute.
    pub(in crate::checks) fn due(target: i64) -> Due {
        Due {
            target,
            url: "http://watched.example/".parse().unwrap(),
            timeout: Duration::from_secs(10),
            interval: Duration::from_mins(1),
            at: Timestamp(1_000_000),
            deadline: Instant::now() + Duration::from_mins(1),
        }
    }

    #[tokio::test]
    async fn next_check_is_an_interval_later_with_jitter() {
        let due = due(1);
        let all: Vec<_> = (0..1000)
            .map(|_| due.next(due.at.after(Duration::from_secs(2))).0 - due.at.0)
            .collect();
        assert!(
            all.iter().all(|after| (57_000..=63_000).contains(after)),
            "{all:?}"
        );
        let mean = all.iter().sum::<i64>() / 1000;
        assert!((59_500..60_500).contains(&mean), "{mean}");
        assert!(all.iter().any(|after| *after < 59_000));
        assert!(all.iter().any(|after| *after > 61_000));
    }

    #[tokio::test]
    async fn missed_periods_are_skipped() {
        let due = due(1);
        let now = due.at.after(Duration::from_secs(3600 + 1));
        for _ in 0..100 {
            let ahead = due.next(now).0 - now.0;
            assert!((56_000..=62_000).contains(&ahead), "{ahead}");
        }
    }

    #[tokio::test]
    async fn clock_set_back_delays_no_check() {
        let due = due(1);
        let now = due.at.before(Duration::from_secs(800));
        let ahead = due.next(now).0 - now.0;
        assert!((57_000..=63_000).contains(&ahead), "{ahead}");
    }
}
