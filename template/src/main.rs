//! The entry point. `app.rs` composes the service.

mod app;
mod hello;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::service().run(app::serve, app::databases)
}
