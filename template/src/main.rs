//! The entry point. The parts of the service are put together in `app.rs`.

mod app;
mod hello;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::service().run(app::serve, app::databases)
}
