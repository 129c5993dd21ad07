//! The commands for existing services: `cargo run -- update` and `cargo run -- copy-data`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use updater::data::CopyData;
use updater::rendering::Rendering;
use updater::update::Update;

/// Updates generated services, and moves their data.
#[derive(Debug, Parser)]
#[command(name = "updater", bin_name = "cargo run --", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Merge a newer template, or other answers, into a generated project
    Update(Update),
    /// Copy the data of a service from SQLite to Postgres
    CopyData(CopyData),
    /// Render the template, in a child process of `update`
    #[command(hide = true)]
    Render(Rendering),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Update(update) => update.run(),
        Task::CopyData(copy) => copy.run().map(|()| ExitCode::SUCCESS),
        Task::Render(rendering) => rendering.render().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
