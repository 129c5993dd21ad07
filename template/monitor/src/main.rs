//! The process. What it is made of is in `app.rs`.
//!
//! The monitor watches targets, which are URLs: they are added, listed, changed and removed over an
//! API, and checked at intervals. Clients can follow when a target goes down or comes up again.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "a test may block: the thread is its own"
    )
)]

mod app;
mod changes;
mod checks;
mod paging;
mod settings;
mod summary;
mod targets;
mod timestamp;
#[cfg(test)]
mod watched;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::service().run(app::serve, app::databases)
}
