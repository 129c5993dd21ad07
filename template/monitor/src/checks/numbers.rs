//! The metrics, as listed in `docs/metrics.md`.

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
    describe_counter!(CHECKS, "Checks of targets that have ended, by outcome.");
    describe_counter!(ASKED, "Checks of batches that have ended, by outcome.");
    describe_histogram!(DURATION, "The duration of checks, with all attempts.");
    describe_counter!(ATTEMPTS, "Attempts of checks, by kind.");
    describe_gauge!(HOSTS, "Remembered hosts, by the state of their breaker.");
    describe_counter!(EXPORTS, "Exports that have ended, by outcome.");
    describe_gauge!(QUEUE, "Checks in the queue.");
    describe_gauge!(UNWRITTEN, "Results that are not written yet.");
    // Exported from the start, so that zero is not mistaken for missing.
    queued("manual", 0);
    queued("batch", 0);
    queued("scheduled", 0);
    unwritten(0);
}

/// `first`, `retry`, `hedge`, or `unaffordable` for an attempt that was not made.
pub(super) fn attempt(kind: &'static str) {
    counter!(ATTEMPTS, "kind" => kind).increment(1);
}

/// `up`, `down`, `postponed` or `late`.
pub(super) fn check(outcome: &'static str) {
    counter!(CHECKS, "outcome" => outcome).increment(1);
}

/// `up`, `down`, `given_up`, `not_in_time` or `failed`, for this many checks of a batch.
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

/// Adds `change` to the number of hosts in this state.
pub(super) fn host(state: &'static str, change: f64) {
    gauge!(HOSTS, "breaker" => state).increment(change);
}

pub(super) fn queued(lane: &'static str, length: usize) {
    gauge!(QUEUE, "lane" => lane).set(exact(length));
}

pub(super) fn unwritten(results: usize) {
    gauge!(UNWRITTEN).set(exact(results));
}

/// Such counts are far below the numbers that a float cannot represent.
fn exact(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}
