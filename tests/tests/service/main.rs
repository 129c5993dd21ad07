//! The services as their owners run them: commands, settings, secrets, and the features of `monitor`.

mod checks;
mod commands;
mod exports;
mod secrets;
mod settings;

use harness::fleet;
use harness::service::{Launch, Service};

/// The service `hello`, not started yet.
fn hello() -> Launch {
    Service::of(fleet::HELLO.binary())
}

/// The service `monitor`, not started yet.
fn monitor() -> Launch {
    // Disables the scheduler. As a variable, so that a test can still override it.
    Service::of(fleet::MONITOR.binary()).env("APP__MONITOR__SCHEDULED", "false")
}
