//! What a service says of its API: that it is so, and that its page shows it.

mod conformance;
mod page;

use std::path::PathBuf;
use std::sync::OnceLock;

use harness::service::{Launch, Service};
use harness::variant::Variant;

/// The default service, not started yet.
fn service() -> Launch {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| Variant::default().generate().build());
    // Nobody out there is asked.
    Service::of(binary).set("monitor.scheduled", false)
}
