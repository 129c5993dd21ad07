//! The services as their owners run them: commands, settings, secrets and stops of `hello`, and the
//! features of `monitor`.

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
    // Disables the scheduler. As a variable, so that a test can still override it.
    Service::of(fleet::MONITOR.binary()).env("APP__MONITOR__SCHEDULED", "false")
}

/// The cause of a failed start, from the log.
fn cause_of(exit: &Exit) -> String {
    let failed = exit
        .event("failed")
        .expect("the log has the event `failed`");
    failed.field("cause").to_string()
}
