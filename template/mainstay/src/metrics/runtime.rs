//! What the runtime counts of itself.

use std::time::Duration;

use tokio::runtime::Handle;

use super::catalog;
use super::text::Text;

/// What a runtime counts of itself.
pub(super) fn write(runtime: &Handle, text: &mut Text) {
    let metrics = runtime.metrics();
    let workers = metrics.num_workers();
    text.family(&catalog::RUNTIME_WORKERS).sample(&[], workers);
    text.family(&catalog::RUNTIME_TASKS)
        .sample(&[], metrics.num_alive_tasks());
    text.family(&catalog::RUNTIME_QUEUE)
        .sample(&[], metrics.global_queue_depth());
    let busy: Duration = (0..workers)
        .map(|worker| metrics.worker_total_busy_duration(worker))
        .sum();
    text.family(&catalog::RUNTIME_BUSY)
        .sample(&[], busy.as_secs_f64());
}
