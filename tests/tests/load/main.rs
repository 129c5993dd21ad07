//! The default service under load: what becomes of requests while it stops, and of ten thousand
//! connections.

mod crowd;
mod stops;

use harness::service::{Launch, Service};
use harness::variant::Variant;

/// The default service, not started yet.
fn service() -> Launch {
    Service::of(binary()).set("monitor.scheduled", false)
}

/// The default variant's binary, built once.
fn binary() -> std::path::PathBuf {
    static BINARY: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    BINARY
        .get_or_init(|| Variant::default().generate().build())
        .clone()
}
