//! The services as their owners run them: commands, settings, secrets, and the features of `monitor`.

mod checks;
mod commands;
mod exports;
mod hour;
mod secrets;
mod settings;

use harness::fleet;
use harness::service::{Launch, Output, Service};

/// The service `hello`, not started yet.
fn hello() -> Launch {
    Service::of(fleet::HELLO.binary())
}

/// The service `monitor` with its scheduler disabled, not started yet.
fn monitor() -> Launch {
    Service::of(fleet::MONITOR.binary()).set("monitor.scheduled", false)
}

/// Runs a command of a service, written as in a shell.
async fn run(launch: Launch, command: &str) -> Output {
    let launch = command.split(' ').fold(launch, Launch::arg);
    launch.run().await.unwrap()
}
