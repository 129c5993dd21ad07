//! What has become of what was to be exported.

use crate::metrics::catalog;
use crate::metrics::text::Text;
use crate::telemetry::otlp;

pub(super) fn write(text: &mut Text) {
    let numbers = otlp::numbers();
    let mut exports = text.family(&catalog::OTLP_EXPORTS);
    for (signal, [taken, failed]) in numbers.iter().flat_map(|numbers| numbers.exports) {
        exports.sample(&[signal, "taken"], taken);
        exports.sample(&[signal, "failed"], failed);
    }
    let mut spans = text.family(&catalog::OTLP_SPANS);
    if let Some(numbers) = numbers {
        spans.sample(&["sent"], numbers.spans_sent);
        spans.sample(&["lost"], numbers.spans_lost);
    }
}
