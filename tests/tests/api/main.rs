//! What a service says of its API: that it is so, and that its page shows it.

mod conformance;
mod page;

use harness::fleet;
use harness::service::{Launch, Service};

/// The monitor, not started yet.
fn service() -> Launch {
    // It checks no targets.
    Service::of(fleet::MONITOR.binary()).set("monitor.scheduled", false)
}
