//! The monitor under load: requests during a stop, and ten thousand connections.

mod crowd;
mod stops;

use harness::fleet;
use harness::service::{Launch, Service};

/// The monitor, not started yet.
fn service() -> Launch {
    Service::of(fleet::MONITOR.binary()).set("monitor.scheduled", false)
}
