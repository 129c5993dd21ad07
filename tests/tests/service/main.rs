//! Services as their owners run them: the commands, settings, secrets and stops of `hello`, and what
//! `monitor` does.

mod canaries;
mod checks;
mod commands;
mod exports;
mod postgres;
mod secrets;
mod settings;
mod stopping;

use harness::fleet;
use harness::service::{Exit, Launch, Service};

/// The service `hello`, not started yet.
fn hello() -> Launch {
    Service::of(fleet::HELLO.binary())
}

/// The service `monitor`, not started yet.
fn monitor() -> Launch {
    // It checks no targets. As a variable, so that a test may still set it otherwise.
    Service::of(fleet::MONITOR.binary()).env("APP__MONITOR__SCHEDULED", "false")
}

/// Why a start did not succeed, as the log says it.
fn cause_of(exit: &Exit) -> String {
    let failed = exit.event("failed").expect("the log says why");
    failed.field("cause").to_string()
}
