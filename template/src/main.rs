//! The process. What it is made of is in `app.rs`.

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
