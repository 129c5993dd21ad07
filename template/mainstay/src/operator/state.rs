//! The state that the operator's listener shows and changes, and the text of `/metrics`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::HeaderValue;
use serde::Serialize;
use subtle::ConstantTimeEq;

use crate::health::Health;
use crate::lifecycle::Lifecycle;
use crate::metrics::{Metrics, catalog, pools, text::Text};
use crate::server::Traffic;
use crate::settings::{Entry, Secret};
use crate::supervisor::{State, Supervisor};
use crate::telemetry::FilterHandle;
#[cfg(feature = "otlp")]
use crate::telemetry::otlp::{EXPORTS_FAILED, EXPORTS_TAKEN, SPANS_LOST, SPANS_SENT};

pub(crate) struct OperatorState {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) supervisor: Supervisor,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    /// Reads the current numbers of all components.
    pub(crate) numbers: Box<dyn Fn() -> Numbers + Send + Sync>,
    pub(crate) settings: Vec<Entry>,
    pub(crate) log_filter: FilterHandle,
    pub(crate) token: Option<Secret>,
    /// The number of wrong tokens since the start.
    pub(crate) refused: AtomicU64,
}

/// The total traffic of the service's listeners, and the connection pools of its databases.
#[derive(Debug, Default, Serialize)]
pub struct Numbers {
    pub(crate) http: Option<Traffic>,
    pub(crate) database: Option<Pools>,
}

type Pools = BTreeMap<String, pools::PoolStatus>;

impl OperatorState {
    /// Whether an `Authorization` header has this token. Compares in constant time, and counts wrong tokens.
    pub(super) fn accepts(&self, token: &Secret, header: Option<&HeaderValue>) -> bool {
        let Some(given) = header else {
            return false;
        };
        let (scheme, given) = given.as_bytes().split_at_checked(7).unwrap_or_default();
        let is_equal = bool::from(token.expose().as_bytes().ct_eq(given));
        let is_right = is_equal && scheme.eq_ignore_ascii_case(b"Bearer ");
        if !is_right {
            let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            // Log the 1st, 2nd, 4th, 8th and so on, so that an attack does not flood the log.
            if refused.is_power_of_two() {
                tracing::warn!(refused, "wrong token on the operator's listener");
            }
        }
        is_right
    }

    /// All metrics in the text format. The values that other parts count are read now.
    pub(super) fn metrics_page(&self) -> String {
        self.metrics.text(|text| {
            let Numbers { http, database } = (self.numbers)();
            if let Some(traffic) = http {
                write_traffic(text, &traffic);
            }
            if let Some(pools) = database {
                write_pools(text, &pools);
            }
            self.write_tasks(text);
            self.write_checks(text);
            self.write_process(text);
            #[cfg(all(feature = "idempotency", feature = "_database"))]
            crate::idempotency::write_metrics(text);
            #[cfg(feature = "otlp")]
            write_export(text);
        })
    }

    fn write_tasks(&self, text: &mut Text) {
        let tasks = self.supervisor.statuses();
        let tasks = || tasks.iter().map(|task| (&*task.name, task));
        let mut state = text.family(&catalog::TASK_STATE);
        for (name, task) in tasks() {
            state.state(&[name], &State::NAMES, task.state.name());
        }
        text.each(&catalog::TASK_RUNS, tasks(), |it| it.runs);
        text.each(&catalog::TASK_RESTARTS, tasks(), |it| it.restarts);
    }

    fn write_checks(&self, text: &mut Text) {
        let checks = self.health.checked();
        let checks = || checks.iter().map(|check| (check.name.as_str(), check));
        text.each(&catalog::CHECK_PASSING, checks(), |it| u8::from(it.passes));
        let mut duration = text.family(&catalog::CHECK_DURATION);
        for (name, check) in checks() {
            if let Some(took) = check.took {
                duration.sample(&[name], took.as_secs_f64());
            }
        }
    }

    fn write_process(&self, text: &mut Text) {
        let states = ["starting", "ready", "draining", "stopped"];
        let current = self.lifecycle.state().name();
        text.family(&catalog::LIFECYCLE_STATE)
            .state(&[], &states, current);
        let refused = self.refused.load(Ordering::Relaxed);
        text.value(&catalog::OPERATOR_REFUSED, refused);
        let progress = self.health.pulse.progress();
        text.value(&catalog::STALLS, progress.stalls);
        let stalled = progress.stalled_for().unwrap_or_default();
        text.value(&catalog::STALLED, stalled.as_secs_f64());
        text.value(&catalog::LAG, progress.lag.as_secs_f64());
    }
}

fn write_traffic(text: &mut Text, traffic: &Traffic) {
    text.value(&catalog::CONNECTIONS, traffic.connections);
    text.value(&catalog::ACCEPTED, traffic.accepted);
    let mut closed = text.family(&catalog::CLOSED);
    for reason in ["late_head", "idle", "slow_reader"] {
        closed.sample(&[reason], traffic.closed.get(reason).copied().unwrap_or(0));
    }
    text.value(&catalog::REQUESTS, traffic.requests);
    text.value(&catalog::UNFINISHED, traffic.in_flight);
}

fn write_pools(text: &mut Text, pools: &Pools) {
    let pools = || pools.iter().map(|(name, numbers)| (name.as_str(), numbers));
    let mut count = text.family(&catalog::POOL_COUNT);
    for (pool, numbers) in pools() {
        count.sample(&[pool, "idle"], numbers.idle);
        count.sample(&[pool, "used"], numbers.in_use);
    }
    text.each(&catalog::POOL_MAX, pools(), |it| it.max);
    text.each(&catalog::POOL_PENDING, pools(), |it| it.waiting);
    let mut wait = text.family(&catalog::POOL_WAIT);
    for (pool, numbers) in pools() {
        wait.histogram(&[pool], Some(&numbers.waits.wait));
    }
    text.each(&catalog::POOL_TIMEOUTS, pools(), |it| it.waits.timeouts);
    text.each(&catalog::POOL_HELD_LONG, pools(), |it| it.waits.held_long);
    text.each(&catalog::POOL_LONGEST_HOLD, pools(), |it| {
        Duration::from_millis(it.longest_hold_ms).as_secs_f64()
    });
    let mut discarded = text.family(&catalog::POOL_DISCARDED);
    for (pool, pools::PoolStatus { waits, .. }) in pools() {
        discarded.sample(&[pool, "old"], waits.discarded_old);
        discarded.sample(&[pool, "dead"], waits.discarded_dead);
        discarded.sample(&[pool, "broken"], waits.discarded_broken);
        discarded.sample(&[pool, "unfinished"], waits.discarded_unfinished);
    }
}

#[cfg(feature = "otlp")]
fn write_export(text: &mut Text) {
    let mut exports = text.family(&catalog::OTLP_EXPORTS);
    for (outcome, count) in [("taken", &EXPORTS_TAKEN), ("failed", &EXPORTS_FAILED)] {
        exports.sample(&["traces", outcome], count.load(Ordering::Relaxed));
    }
    let mut spans = text.family(&catalog::OTLP_SPANS);
    for (outcome, count) in [("sent", &SPANS_SENT), ("lost", &SPANS_LOST)] {
        spans.sample(&[outcome], count.load(Ordering::Relaxed));
    }
}
