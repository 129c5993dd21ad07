//! What is counted: each name once, as `docs/metrics.md` has it.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const CHANGES: &str = "monitor_changes_total";
const STREAMS: &str = "monitor_streams";
const MISSED: &str = "monitor_events_missed_total";

pub(super) fn describe() {
    describe_counter!(CHANGES, "Changes that this process has announced.");
    describe_gauge!(STREAMS, "Streams of changes that are open.");
    describe_counter!(
        MISSED,
        "Changes that streams have left out, since they were not read in time, or not kept any more."
    );
    // There from the start, so that nobody takes nothing for missing.
    gauge!(STREAMS).set(0.0);
    counter!(MISSED).increment(0);
}

pub(super) fn announced(is_up: bool) {
    let change = if is_up { "up" } else { "down" };
    counter!(CHANGES, "change" => change).increment(1);
}

/// One more that is open, or one less.
pub(super) fn streams(change: f64) {
    gauge!(STREAMS).increment(change);
}

pub(super) fn missed(changes: u64) {
    counter!(MISSED).increment(changes);
}
