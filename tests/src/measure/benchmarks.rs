//! The benchmarks of the machinery, and their output.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::run_cargo;
use crate::variant::Variant;

/// A benchmark of the machinery.
struct Benchmark {
    title: &'static str,
    name: &'static str,
    about: &'static str,
}

const BENCHMARKS: [Benchmark; 4] = [
    Benchmark {
        title: "Supervision",
        name: "supervision",
        about: "What a task costs under the supervisor, beside tokio's own ways to start one; aim: \
                a one-shot within twice a bare `tokio::spawn`, and start and stop linear in the \
                number of tasks.",
    },
    Benchmark {
        title: "The listener",
        name: "serving",
        about: "What the listener costs, with all that it promises, beside `axum::serve` with the \
                same route on the same runtime; aim: within 3 % on connections that are kept, and \
                ahead on those that are closed. Clients have the other core: where the thread is not \
                busy all the time, the time of the thread tells more than the rate.",
    },
    Benchmark {
        title: "Logs",
        name: "logging",
        about: "The CPU time of the event of a request, for the thread that logs it and for the process, \
                beside `fmt().json()` and `json-subscriber` on the way to the same file; aim: at most half.",
    },
    Benchmark {
        title: "The database",
        name: "database",
        about: "The cost of a statement through the database of the machinery, beside well-configured \
                pools of sqlx and beside one connection without a pool; aim: not behind the pools, and \
                ahead for reads.",
    },
];

/// The sections of docs/performance.md.
pub(super) fn sections(target: &Path) -> Result<String> {
    let project = Variant::default().generate();
    let mut page = String::new();
    for Benchmark { title, name, about } in BENCHMARKS {
        let of_machinery = [
            "bench",
            "--locked",
            "-p",
            "mainstay",
            "--features",
            "testing",
        ];
        let arguments = [&of_machinery[..], &["--bench", name]].concat();
        let said = String::from_utf8(run_cargo(project.dir(), target, &arguments)?)?;
        write!(
            page,
            "\n## {title}\n\n{about}\n\n`cargo bench -p mainstay --features testing --bench {name}` in a \
             generated service, or in `template/`, prints\n\n```text\n{said}```\n"
        )?;
    }
    Ok(page)
}
