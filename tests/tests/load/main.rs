//! The monitor under load: what becomes of requests while it stops, and of ten thousand
//! connections.

mod crowd;
mod stops;

use harness::fleet;
use harness::service::{Launch, Service};

/// The monitor, not started yet.
fn service() -> Launch {
    Service::of(fleet::MONITOR.binary()).set("monitor.scheduled", false)
}
