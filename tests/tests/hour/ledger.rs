//! What the service has kept of its checks, read when it has ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::sql;
use crate::world::TARGETS;

/// The results of each target, in the order in which they were due.
pub(crate) struct Ledger(pub(crate) Vec<Vec<Kept>>);

pub(crate) struct Kept {
    /// In milliseconds since 1970, as all that follows.
    pub(crate) due: u64,
    /// How long it was due before it was checked.
    pub(crate) lag: u64,
    /// How it was found.
    pub(crate) outcome: String,
}

const ALL: &str = "SELECT replace(url, rtrim(url, '0123456789'), ''), due_at, checked_at - due_at,
         coalesce(reason, 'up') || coalesce(' ' || status, '')
     FROM checks JOIN targets ON id = target_id ORDER BY target_id, due_at";

impl Ledger {
    pub(crate) async fn read(database: &Path) -> Self {
        let told = sql(database, ALL).await;
        let mut targets: Vec<_> = (0..TARGETS).map(|_| Vec::new()).collect();
        for line in told.lines() {
            let [target, due, lag, outcome] = line.splitn(4, '|').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            targets[target.parse::<usize>().unwrap()].push(Kept {
                due: due.parse().unwrap(),
                lag: lag.parse().unwrap(),
                outcome: outcome.to_owned(),
            });
        }
        Self(targets)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// How often each outcome was found, of these targets.
    pub(crate) fn outcomes(&self, of: impl Fn(usize) -> bool) -> BTreeMap<&str, usize> {
        let mut outcomes = BTreeMap::new();
        let targets = self.0.iter().enumerate().filter(|(target, _)| of(*target));
        for kept in targets.flat_map(|(_, kept)| kept) {
            *outcomes.entry(&*kept.outcome).or_default() += 1;
        }
        outcomes
    }

    /// The time from one check to the next, of all targets.
    pub(crate) fn periods(&self) -> impl Iterator<Item = Duration> {
        let targets = self.0.iter();
        let pairs = targets.flat_map(|kept| kept.windows(2));
        pairs.map(|pair| Duration::from_millis(pair[1].due - pair[0].due))
    }

    /// How late checks were: half of them, ninety-nine of a hundred, and all were not later.
    pub(crate) fn lags(&self) -> [Duration; 3] {
        let mut lags: Vec<_> = self.0.iter().flatten().map(|kept| kept.lag).collect();
        lags.sort_unstable();
        let last = lags.len() - 1;
        [last / 2, last * 99 / 100, last].map(|place| Duration::from_millis(lags[place]))
    }
}
