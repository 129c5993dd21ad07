//! The metrics, as listed in `docs/metrics.md`.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const CHANGES: &str = "monitor_changes_total";
const STREAMS: &str = "monitor_streams";
const MISSED: &str = "monitor_events_missed_total";

pub(super) fn describe() {
    describe_counter!(CHANGES, "Changes that this process has announced.");
    describe_gauge!(STREAMS, "Open streams of changes.");
    describe_counter!(
        MISSED,
        "Changes that streams have left out: the client read too slowly, or they were removed."
    );
    // Exported from the start, so that zero is not mistaken for missing.
    gauge!(STREAMS).set(0.0);
    counter!(MISSED).increment(0);
}

pub(super) fn announced(is_up: bool) {
    let change = if is_up { "up" } else { "down" };
    counter!(CHANGES, "change" => change).increment(1);
}

/// Adds `change` to the number of open streams.
pub(super) fn streams(change: f64) {
    gauge!(STREAMS).increment(change);
}

pub(super) fn missed(changes: u64) {
    counter!(MISSED).increment(changes);
}
