//! The metrics, as listed in `docs/metrics.md`.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_histogram, histogram};

const ANSWERS: &str = "monitor_summaries_total";
const DURATION: &str = "monitor_summary_duration_seconds";
const FAILURES: &str = "monitor_summary_failures_total";

pub(super) fn describe() {
    describe_counter!(ANSWERS, "Requested summaries, by the answer.");
    describe_histogram!(DURATION, "How long the computation of a summary took.");
    describe_counter!(FAILURES, "Summaries that could not be computed.");
    // Exported from the start, so that the first failure is an increase.
    counter!(FAILURES).absolute(0);
}

/// `fresh`, `stale`, or `none` if none was known.
pub(super) fn answered(answer: &'static str) {
    counter!(ANSWERS, "answer" => answer).increment(1);
}

pub(super) fn took(time: Duration) {
    histogram!(DURATION).record(time);
}

pub(super) fn failed() {
    counter!(FAILURES).increment(1);
}
