//! The entry point. The parts of the service are put together in `app.rs`.

mod app;
mod hello;
mod settings;

use std::process::ExitCode;

use mainstay::Command;

fn main() -> ExitCode {
    match app::service().command() {
        Command::Serve(serve) => serve.run(app::serve),
        Command::Migrate(migrate) => migrate.run(app::databases),
        Command::Other(other) => other.run(),
    }
}
