//! The default service, built and run as its owner would: commands, settings, secrets, stops.

mod canaries;
mod checks;
mod commands;
mod exports;
mod postgres;
mod secrets;
mod settings;
mod stopping;

use std::path::PathBuf;
use std::sync::OnceLock;

use harness::service::{Exit, Launch, Service};
use harness::variant::Variant;

/// The default variant's binary, built once.
fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| Variant::default().generate().build())
        .clone()
}

/// The default service, not started yet.
fn service() -> Launch {
    // Nobody out there is asked. As a variable, so that a test may still set it otherwise.
    Service::of(binary()).env("APP__MONITOR__SCHEDULED", "false")
}

/// Why a start did not succeed, as the log says it.
fn cause_of(exit: &Exit) -> String {
    let failed = exit.event("failed").expect("the log says why");
    failed.field("cause").to_string()
}
