//! The API description of a service: the service conforms to it, and its page shows it.

mod browser;
mod conformance;
mod page;
mod schemathesis;

use harness::fleet;
use harness::service::{Launch, Service};

/// The monitor, not started yet, with its scheduler disabled.
fn service() -> Launch {
    Service::of(fleet::MONITOR.binary()).set("monitor.scheduled", false)
}
