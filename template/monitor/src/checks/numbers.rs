//! What is counted: each name once, as `docs/metrics.md` has it.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const CHECKS: &str = "monitor_checks_total";
const ASKED: &str = "monitor_batch_checks_total";
const DURATION: &str = "monitor_check_duration_seconds";
const ATTEMPTS: &str = "monitor_attempts_total";
const HOSTS: &str = "monitor_hosts";
const EXPORTS: &str = "monitor_exports_total";
const QUEUE: &str = "monitor_queue_length";
const UNWRITTEN: &str = "monitor_results_unwritten";

pub(super) fn describe() {
    describe_counter!(
        CHECKS,
        "Checks of targets that have come to an end, by their outcome."
    );
    describe_counter!(
        ASKED,
        "Checks that batches asked for, by what became of them."
    );
    describe_histogram!(
        DURATION,
        "How long checks took, with all of their attempts."
    );
    describe_counter!(
        ATTEMPTS,
        "Requests that checks were made of, by their kind."
    );
    describe_gauge!(
        HOSTS,
        "Hosts that are remembered, by the state of their breaker."
    );
    describe_counter!(EXPORTS, "Exports that are over, by their outcome.");
    describe_gauge!(QUEUE, "Checks that wait for their turn.");
    describe_gauge!(UNWRITTEN, "Results that are not in the database yet.");
    // There from the start, so that nobody takes nothing for missing.
    queued("manual", 0);
    queued("batch", 0);
    queued("scheduled", 0);
    unwritten(0);
}

/// `first`, `retry` or `hedge`, or `unaffordable`, which was not made.
pub(super) fn attempt(kind: &'static str) {
    counter!(ATTEMPTS, "kind" => kind).increment(1);
}

/// `up`, `down`, `postponed` or `late`.
pub(super) fn check(outcome: &'static str) {
    counter!(CHECKS, "outcome" => outcome).increment(1);
}

/// `up`, `down`, `given_up`, `not_in_time` or `failed`: so many of one batch.
pub(super) fn asked(outcome: &'static str, checks: u32) {
    counter!(ASKED, "outcome" => outcome).increment(checks.into());
}

/// `complete`, `left` by its client, or `broken` by the database.
pub(super) fn export(outcome: &'static str) {
    counter!(EXPORTS, "outcome" => outcome).increment(1);
}

pub(super) fn took(time: Duration) {
    histogram!(DURATION).record(time);
}

/// One more host in this state, or one less.
pub(super) fn host(state: &'static str, change: f64) {
    gauge!(HOSTS, "breaker" => state).increment(change);
}

pub(super) fn queued(lane: &'static str, length: usize) {
    gauge!(QUEUE, "lane" => lane).set(exact(length));
}

pub(super) fn unwritten(results: usize) {
    gauge!(UNWRITTEN).set(exact(results));
}

/// Numbers of things in memory are far below where a float has gaps.
fn exact(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}
