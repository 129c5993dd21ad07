//! The metrics of the export to a collector.

use std::sync::atomic::Ordering;

use crate::metrics::catalog;
use crate::metrics::text::Text;
use crate::telemetry::otlp::{EXPORTS_FAILED, EXPORTS_TAKEN, SPANS_LOST, SPANS_SENT};

pub(super) fn write(text: &mut Text) {
    let mut exports = text.family(&catalog::OTLP_EXPORTS);
    for (outcome, count) in [("taken", &EXPORTS_TAKEN), ("failed", &EXPORTS_FAILED)] {
        exports.sample(&["traces", outcome], count.load(Ordering::Relaxed));
    }
    let mut spans = text.family(&catalog::OTLP_SPANS);
    for (outcome, count) in [("sent", &SPANS_SENT), ("lost", &SPANS_LOST)] {
        spans.sample(&[outcome], count.load(Ordering::Relaxed));
    }
}
