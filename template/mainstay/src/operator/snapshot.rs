//! The metrics that other parts count, as of now.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::health::Checked;
use crate::lifecycle;
use crate::metrics::catalog;
use crate::metrics::pools::Numbers;
use crate::metrics::text::{Counts, Text};
use crate::server::Traffic;
use crate::supervisor::{self, Status};

/// The connection pools of a database, by name.
pub(crate) type PoolNumbers = BTreeMap<String, Numbers>;

/// What others count.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) lifecycle: lifecycle::State,
    /// Of the public listener, once there is one.
    pub(super) http: Option<Traffic>,
    /// Each pool, once there are any.
    pub(super) database: Option<PoolNumbers>,
    pub(super) tasks: Vec<Status>,
    pub(super) checks: Vec<Checked>,
    pub(super) stalls: u64,
    pub(super) stalled_for: Option<Duration>,
    pub(super) lag: Duration,
    /// Wrong tokens that the operator's listener was given.
    pub(super) refused: u64,
}

impl Snapshot {
    pub(super) fn write(&self, text: &mut Text) {
        self.listener(text);
        self.pools(text);
        self.tasks(text);
        self.checks(text);
        #[cfg(all(feature = "idempotency", feature = "_database"))]
        crate::idempotency::write_metrics(text);
        #[cfg(feature = "otlp")]
        super::export::write(text);
        let states = ["starting", "ready", "draining", "stopped"];
        let state = match self.lifecycle {
            lifecycle::State::Starting => "starting",
            lifecycle::State::Ready => "ready",
            lifecycle::State::Draining { .. } => "draining",
            lifecycle::State::Stopped => "stopped",
        };
        text.family(&catalog::LIFECYCLE_STATE)
            .state(&[], &states, state);
        text.family(&catalog::OPERATOR_REFUSED)
            .sample(&[], self.refused);
        text.family(&catalog::STALLS).sample(&[], self.stalls);
        let stalled = self.stalled_for.unwrap_or_default();
        text.family(&catalog::STALLED)
            .sample(&[], stalled.as_secs_f64());
        text.family(&catalog::LAG)
            .sample(&[], self.lag.as_secs_f64());
    }

    fn listener(&self, text: &mut Text) {
        let http = self.http.as_ref();
        text.family(&catalog::CONNECTIONS)
            .maybe(http.map(|http| http.connections));
        text.family(&catalog::ACCEPTED)
            .maybe(http.map(|http| http.accepted));
        let mut closed = text.family(&catalog::CLOSED);
        if let Some(http) = http {
            closed.sample(&["late_head"], http.late_heads);
            closed.sample(&["idle"], http.idle);
            closed.sample(&["slow_reader"], http.slow_readers);
        }
        text.family(&catalog::REQUESTS)
            .maybe(http.map(|http| http.requests));
        text.family(&catalog::UNFINISHED)
            .maybe(http.map(|http| http.in_flight));
    }

    /// Without a database, there are no families of pools.
    fn pools(&self, text: &mut Text) {
        let Some(pools) = &self.database else {
            return;
        };
        let pools = || pools.iter();
        let mut count = text.family(&catalog::POOL_COUNT);
        for (pool, numbers) in pools() {
            count.sample(&[pool, "idle"], numbers.idle);
            count.sample(&[pool, "used"], numbers.in_use);
        }
        let mut max = text.family(&catalog::POOL_MAX);
        for (pool, numbers) in pools() {
            max.sample(&[pool], numbers.max);
        }
        let mut pending = text.family(&catalog::POOL_PENDING);
        for (pool, numbers) in pools() {
            pending.sample(&[pool], numbers.waiting);
        }
        let mut wait = text.family(&catalog::POOL_WAIT);
        for (pool, numbers) in pools() {
            wait.histogram(&[pool], &waits(numbers));
        }
        let mut timeouts = text.family(&catalog::POOL_TIMEOUTS);
        for (pool, numbers) in pools() {
            timeouts.sample(&[pool], numbers.waits.timeouts);
        }
        let mut held_long = text.family(&catalog::POOL_HELD_LONG);
        for (pool, numbers) in pools() {
            held_long.sample(&[pool], numbers.waits.held_long);
        }
        let mut longest = text.family(&catalog::POOL_LONGEST_HOLD);
        for (pool, numbers) in pools() {
            let hold = Duration::from_millis(numbers.longest_hold_ms);
            longest.sample(&[pool], hold.as_secs_f64());
        }
        let mut discarded = text.family(&catalog::POOL_DISCARDED);
        for (pool, Numbers { waits, .. }) in pools() {
            discarded.sample(&[pool, "old"], waits.discarded_old);
            discarded.sample(&[pool, "dead"], waits.discarded_dead);
            discarded.sample(&[pool, "broken"], waits.discarded_broken);
            discarded.sample(&[pool, "unfinished"], waits.discarded_unfinished);
        }
    }

    fn tasks(&self, text: &mut Text) {
        let states = TASK_STATES.map(|(_, word)| word);
        let mut state = text.family(&catalog::TASK_STATE);
        for task in &self.tasks {
            let current = TASK_STATES.iter().find(|(state, _)| *state == task.state);
            let current = current.map_or("", |(_, word)| word);
            state.state(&[&task.name], &states, current);
        }
        let mut runs = text.family(&catalog::TASK_RUNS);
        for task in &self.tasks {
            runs.sample(&[&task.name], task.runs);
        }
        let mut restarts = text.family(&catalog::TASK_RESTARTS);
        for task in &self.tasks {
            restarts.sample(&[&task.name], task.restarts);
        }
    }

    fn checks(&self, text: &mut Text) {
        let mut passing = text.family(&catalog::CHECK_PASSING);
        for check in &self.checks {
            passing.sample(&[&check.name], u8::from(check.passes));
        }
        let mut duration = text.family(&catalog::CHECK_DURATION);
        for check in &self.checks {
            if let Some(took) = check.took {
                duration.sample(&[&check.name], took.as_secs_f64());
            }
        }
    }
}

const TASK_STATES: [(supervisor::State, &str); 6] = [
    (supervisor::State::Starting, "starting"),
    (supervisor::State::Running, "running"),
    (supervisor::State::BackingOff, "backing_off"),
    (supervisor::State::Paused, "paused"),
    (supervisor::State::Stopped, "stopped"),
    (supervisor::State::GaveUp, "gave_up"),
];

fn waits(numbers: &Numbers) -> Counts {
    let totals = &numbers.waits;
    let buckets = totals.waits();
    Counts {
        buckets: buckets
            .map(|(bound, count)| (bound.as_secs_f64(), count))
            .collect(),
        beyond: totals.beyond(),
        sum: Duration::from_micros(totals.waited_us).as_secs_f64(),
    }
}
