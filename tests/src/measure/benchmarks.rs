//! The benchmarks of the machinery, and their output.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::run_cargo;
use crate::variant::Variant;

/// The benchmarks of the machinery: a title, a name, and what each compares.
const BENCHMARKS: [(&str, &str, &str); 4] = [
    (
        "Supervision",
        "supervision",
        "The cost of a task under the supervisor, compared with tokio's own functions. \
         Aims: a one-shot task costs at most twice a bare `tokio::spawn`, and start and \
         stop are linear in the number of tasks.",
    ),
    (
        "The listener",
        "serving",
        "The cost of the listener, compared with `axum::serve` with the same route on the \
         same runtime. Aims: within 3 % on keep-alive connections, and faster on \
         connections that close. Clients have the other core. If the server thread is \
         partly idle, its time for each response says more than the rate.",
    ),
    (
        "Logs",
        "logging",
        "The CPU time of a request's log event, for the thread that logs it and for the \
         process, compared with `fmt().json()` and `json-subscriber` that write to the \
         same file. Aim: at most half.",
    ),
    (
        "The database",
        "database",
        "The cost of a statement through the machinery's database, compared with \
         well-configured sqlx pools and with one connection without a pool. Aims: not \
         slower than the pools, and faster for reads. One statement at a time leaves the \
         processors idle, and then most of its time is their wake-up; so it is measured \
         again while other threads keep them awake.",
    ),
];

/// The sections of docs/performance.md.
pub(super) fn sections(target: &Path) -> Result<String> {
    let project = Variant::default().generate();
    let mut page = String::new();
    for (title, name, about) in BENCHMARKS {
        let bench = format!("bench --locked -p mainstay --features testing --bench {name}");
        let arguments: Vec<_> = bench.split(' ').collect();
        let said = String::from_utf8(run_cargo(project.dir(), target, &arguments)?)?;
        write!(
            page,
            "\n## {title}\n\n{about}\n\n`cargo bench -p mainstay --features testing --bench {name}`, in a \
             generated service or in `template/`, prints:\n\n```text\n{said}```\n"
        )?;
    }
    Ok(page)
}
