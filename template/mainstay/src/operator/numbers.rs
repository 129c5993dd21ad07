//! The metrics that are read from other parts of the process on each scrape.

use std::time::Duration;

use super::state::OperatorState;
use super::token::Token;
use crate::lifecycle;
use crate::metrics::catalog;
use crate::metrics::pools::Numbers;
use crate::metrics::text::Text;
use crate::supervisor;

impl OperatorState {
    /// The current values of all metrics, in the text format.
    pub(crate) fn metrics_page(&self) -> String {
        self.metrics.text(|text| {
            self.write_listener(text);
            self.write_pools(text);
            self.write_tasks(text);
            self.write_checks(text);
            self.write_lifecycle(text);
            #[cfg(all(feature = "idempotency", feature = "_database"))]
            crate::idempotency::write_metrics(text);
            #[cfg(feature = "otlp")]
            super::export::write(text);
        })
    }

    fn write_listener(&self, text: &mut Text) {
        let traffic = self.traffic();
        let traffic = traffic.as_ref();
        text.maybe(&catalog::CONNECTIONS, traffic.map(|it| it.connections));
        text.maybe(&catalog::ACCEPTED, traffic.map(|it| it.accepted));
        let mut closed = text.family(&catalog::CLOSED);
        if let Some(traffic) = traffic {
            closed.sample(&["late_head"], traffic.late_heads);
            closed.sample(&["idle"], traffic.idle);
            closed.sample(&["slow_reader"], traffic.slow_readers);
        }
        text.maybe(&catalog::REQUESTS, traffic.map(|it| it.requests));
        text.maybe(&catalog::UNFINISHED, traffic.map(|it| it.in_flight));
    }

    /// Without a database, there are no families of pools.
    fn write_pools(&self, text: &mut Text) {
        let Some(pools) = self.pools() else {
            return;
        };
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
            wait.histogram(&[pool], &numbers.waits.wait_counts());
        }
        text.each(&catalog::POOL_TIMEOUTS, pools(), |it| it.waits.timeouts);
        text.each(&catalog::POOL_HELD_LONG, pools(), |it| it.waits.held_long);
        text.each(&catalog::POOL_LONGEST_HOLD, pools(), |it| {
            Duration::from_millis(it.longest_hold_ms).as_secs_f64()
        });
        let mut discarded = text.family(&catalog::POOL_DISCARDED);
        for (pool, Numbers { waits, .. }) in pools() {
            discarded.sample(&[pool, "old"], waits.discarded_old);
            discarded.sample(&[pool, "dead"], waits.discarded_dead);
            discarded.sample(&[pool, "broken"], waits.discarded_broken);
            discarded.sample(&[pool, "unfinished"], waits.discarded_unfinished);
        }
    }

    fn write_tasks(&self, text: &mut Text) {
        let tasks = self.supervisor.statuses();
        let tasks = || tasks.iter().map(|task| (&*task.name, task));
        let mut state = text.family(&catalog::TASK_STATE);
        for (name, task) in tasks() {
            state.state(&[name], &supervisor::State::NAMES, task.state.name());
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

    fn write_lifecycle(&self, text: &mut Text) {
        let states = ["starting", "ready", "draining", "stopped"];
        let current = match self.lifecycle.state() {
            lifecycle::State::Starting => "starting",
            lifecycle::State::Ready => "ready",
            lifecycle::State::Draining { .. } => "draining",
            lifecycle::State::Stopped => "stopped",
        };
        text.family(&catalog::LIFECYCLE_STATE)
            .state(&[], &states, current);
        let refused = self.token.as_ref().map_or(0, Token::refused);
        text.value(&catalog::OPERATOR_REFUSED, refused);
        text.value(&catalog::STALLS, self.pulse.stalls());
        let stalled = self.pulse.stalled_for().unwrap_or_default();
        text.value(&catalog::STALLED, stalled.as_secs_f64());
        text.value(&catalog::LAG, self.pulse.lag().as_secs_f64());
    }
}
