//! A check that this process has taken on, and what becomes of it.

use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::probe::Verdict;
use crate::moment::{Moment, millis};

/// A check that is due.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) target: i64,
    pub(super) url: Url,
    pub(super) timeout: Duration,
    pub(super) interval: Duration,
    /// For when it was scheduled. It is also what tells whether it is still ours to write about.
    pub(super) at: Moment,
    /// By then it is over: after that, somebody else may take it on.
    pub(super) deadline: Instant,
}

/// What has become of it.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) due: Due,
    pub(super) end: End,
}

#[derive(Debug, Clone)]
pub(super) enum End {
    Checked {
        at: Moment,
        verdict: Verdict,
    },
    /// There was no room for it: it stays due.
    Postponed,
}

impl Due {
    /// When it is due again, as of now: periods that were missed are skipped. No two targets stay together
    /// for long, since each period is a little longer or shorter than it should be.
    pub(super) fn next(&self, now: Moment) -> Moment {
        let interval = millis(self.interval).max(1);
        // It may lie ahead, where the clock was set back.
        let at = self.at.0.min(now.0);
        let periods = (now.0 - at) / interval + 1;
        let jitter = (fastrand::f64() - 0.5) * 2.0 * JITTER;
        let next = Moment(at + periods * interval);
        let moved = self.interval.mul_f64(jitter.abs());
        let next = if jitter < 0.0 {
            next.before(moved)
        } else {
            next.after(moved)
        };
        next.max(now)
    }
}

/// The share of a period by which the next one can be early or late.
const JITTER: f64 = 0.05;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Of a target with this number, due now, every minute.
    pub(in crate::checks) fn due(target: i64) -> Due {
        Due {
            target,
            url: "http://watched.example/".parse().unwrap(),
            timeout: Duration::from_secs(10),
            interval: Duration::from_mins(1),
            at: Moment(1_000_000),
            deadline: Instant::now() + Duration::from_mins(1),
        }
    }

    #[tokio::test]
    async fn it_is_due_again_after_its_period_a_little_earlier_or_later() {
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
    async fn periods_that_were_missed_are_skipped() {
        let due = due(1);
        let now = due.at.after(Duration::from_secs(3600 + 1));
        for _ in 0..100 {
            let ahead = due.next(now).0 - now.0;
            assert!((56_000..=62_000).contains(&ahead), "{ahead}");
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_makes_nobody_wait() {
        let due = due(1);
        let now = due.at.before(Duration::from_secs(800));
        let ahead = due.next(now).0 - now.0;
        assert!((57_000..=63_000).contains(&ahead), "{ahead}");
    }
}
