//! The stored results of the checks, read after the service has ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::sql;
use super::world::TARGETS;

/// The results of each target, ordered by due time.
pub(crate) struct Ledger(pub(crate) Vec<Vec<Kept>>);

pub(crate) struct Kept {
    /// Since 1970, like the following times.
    pub(crate) due: Duration,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    /// The outcome of the check.
    pub(crate) outcome: String,
}

const ALL: &str = "SELECT replace(url, rtrim(url, '0123456789'), ''), due_at, checked_at, checked_at + latency_ms,
         coalesce(reason, 'up') || coalesce(' ' || status, '')
     FROM checks JOIN targets ON id = target_id ORDER BY target_id, due_at";

impl Ledger {
    pub(crate) async fn read(database: &Path) -> Self {
        let rows = sql(database, ALL).await;
        let mut targets: Vec<_> = (0..TARGETS).map(|_| Vec::new()).collect();
        for line in rows.lines() {
            let [target, due, began, ended, outcome] = line.split('|').collect::<Vec<_>>()[..]
            else {
                panic!("{line}");
            };
            targets[target.parse::<usize>().unwrap()].push(Kept {
                due: time(due),
                began: time(began),
                ended: time(ended),
                outcome: outcome.to_owned(),
            });
        }
        Self(targets)
    }

    /// The number of each outcome over these targets.
    pub(crate) fn outcomes(&self, of: impl Fn(usize) -> bool) -> BTreeMap<&str, usize> {
        let mut outcomes = BTreeMap::new();
        let targets = self.0.iter().enumerate().filter(|(target, _)| of(*target));
        for kept in targets.flat_map(|(_, kept)| kept) {
            *outcomes.entry(&*kept.outcome).or_default() += 1;
        }
        outcomes
    }

    /// The delay of the checks: the median, the 99th percentile and the maximum.
    pub(crate) fn lags(&self) -> [Duration; 3] {
        let all = self.0.iter().flatten();
        let mut lags: Vec<_> = all
            .map(|kept| kept.began.saturating_sub(kept.due))
            .collect();
        lags.sort_unstable();
        let last = lags.len() - 1;
        [last / 2, last * 99 / 100, last].map(|place| lags[place])
    }
}

fn time(milliseconds: &str) -> Duration {
    Duration::from_millis(milliseconds.parse().unwrap())
}
