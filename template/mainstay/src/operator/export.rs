//! The metrics of the export to a collector.

use std::sync::atomic::Ordering;

use crate::metrics::catalog;
use crate::metrics::text::Text;
use crate::telemetry::otlp;

pub(super) fn write(text: &mut Text) {
    let counts = otlp::counts();
    let mut exports = text.family(&catalog::OTLP_EXPORTS);
    if let Some(counts) = counts {
        exports.sample(
            &["traces", "taken"],
            counts.exports_taken.load(Ordering::Relaxed),
        );
        exports.sample(
            &["traces", "failed"],
            counts.exports_failed.load(Ordering::Relaxed),
        );
    }
    let mut spans = text.family(&catalog::OTLP_SPANS);
    if let Some(counts) = counts {
        spans.sample(&["sent"], counts.spans_sent.load(Ordering::Relaxed));
        spans.sample(&["lost"], counts.spans_lost.load(Ordering::Relaxed));
    }
}
