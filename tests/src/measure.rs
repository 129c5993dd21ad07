//! What a generated service costs: to build, to start, to keep running. `cargo run -- measure`
//! writes docs/performance.md, which is where the figures of the README come from.

mod edge;
mod fanout;
mod layers;
mod stage;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::crowd::{Crowd, Manner, make_room, welcoming};
use crate::http::{self, Request};
use crate::repository;
use crate::service::Service;
use crate::variant::{Project, Variant};
use stage::Stage;

/// Starts that are measured; the middle one is reported.
const STARTS: usize = 21;

/// Connections that are held at once, to know what one of them costs.
const CROWD: usize = 10_000;

/// What the edge costs, and nothing else.
pub fn edge() -> Result<()> {
    print!(
        "{}",
        edge::section(&Stage::built(&repository::services())?)?
    );
    Ok(())
}

/// What each part of the edge costs, and nothing else.
pub fn layers() -> Result<()> {
    print!(
        "{}",
        layers::section(&Stage::built(&repository::services())?)?
    );
    Ok(())
}

/// What many URLs cost that are checked with one request, and nothing else.
pub fn fanout() -> Result<()> {
    print!("{}", fanout::section(&repository::services())?);
    Ok(())
}

/// Measures the default variant, and writes the figures down.
pub fn write() -> Result<()> {
    let project = Variant::default().generate();
    let scratch = tempfile::tempdir_in(repository::projects())?;
    let runtime = tokio::runtime::Runtime::new()?;

    let debug = build(&project, scratch.path(), &[])?;
    let rebuild = rebuild(&project, scratch.path())?;
    let release = build(&project, scratch.path(), &["--release"])?;
    let binary = scratch.path().join("release").join(project.name());
    let size = fs::metadata(&binary)?.len();
    let first = runtime.block_on(starts(&binary, false))?;
    let again = runtime.block_on(starts(&binary, true))?;
    let (idle, worked) = runtime.block_on(memory(&binary))?;
    let [idle_each, half_open_each, busy_each] = runtime.block_on(connections(&binary))?;
    let stage = Stage::built(scratch.path())?;
    let edge = edge::section(&stage)?;
    let fanout = fanout::section(scratch.path())?;
    let sections = [edge, layers::section(&stage)?, fanout].concat();
    let mut said = Vec::new();
    for benchmark in &BENCHMARKS {
        said.push(run(benchmark, &project, scratch.path())?);
    }

    let rows = [
        (
            "Clean debug build, all dependencies",
            seconds(debug),
            "under 90 s",
        ),
        (
            "Debug build after a change to a route",
            seconds(rebuild),
            "under 5 s",
        ),
        ("Clean release build, with fat LTO", seconds(release), "–"),
        ("Release binary", mebibytes(size), "under 15 MiB"),
        (
            "Start to `ready`, database to be made",
            milliseconds(first),
            "under 50 ms",
        ),
        (
            "Start to `ready`, database there",
            milliseconds(again),
            "under 50 ms",
        ),
        ("Memory when idle (RSS)", mebibytes(idle), "under 20 MiB"),
        ("Memory after 10 000 requests (RSS)", mebibytes(worked), "–"),
        (
            "Memory for an idle connection, one of 10 000",
            kibibytes(idle_each),
            "under 32 KiB",
        ),
        (
            "… for one with half the head of a request",
            kibibytes(half_open_each),
            "under 32 KiB",
        ),
        (
            "… for one with a request in flight",
            kibibytes(busy_each),
            "under 32 KiB",
        ),
    ];
    let path = repository::root().join("docs/performance.md");
    fs::write(&path, page(&rows, &sections, &said)?)
        .with_context(|| format!("{}", path.display()))?;
    println!("{}", fs::read_to_string(&path)?);
    Ok(())
}

fn page(rows: &[(&str, String, &str)], sections: &str, benchmarks: &[String]) -> Result<String> {
    let rustc = Command::new("rustc").arg("--version").output()?.stdout;
    let rustc = String::from_utf8(rustc)?;
    let version = rustc.split(' ').nth(1).unwrap_or("?");
    let cores = std::thread::available_parallelism()?;
    let mut page = format!(
        "# Performance\n\n\
         The default variant (SQLite, monitor), on {cores} cores of a small virtual machine with \
         rustc {version}, measured and written by\n\n    cargo run -- measure\n\n\
         | what | measured | aim |\n|---|---|---|\n"
    );
    for (what, measured, aim) in rows {
        writeln!(page, "| {what} | {measured} | {aim} |")?;
    }
    writeln!(
        page,
        "\nBuilds are from an empty target directory, with every dependency downloaded before. \
         Starts are the median of {STARTS}, from the `exec` to the `ready` event as it is read \
         from the log; memory is the resident set that Linux reports for the release build. What the \
         kernel keeps for a socket is not in it."
    )?;
    page.push_str(sections);
    for (benchmark, said) in BENCHMARKS.iter().zip(benchmarks) {
        let Benchmark { title, name, about } = benchmark;
        write!(
            page,
            "\n## {title}\n\n{about}\n\n`cargo bench --bench {name}` in a generated service, or in \
             `template/`, prints\n\n```text\n{said}```\n"
        )?;
    }
    Ok(page)
}

/// A benchmark that comes with every service.
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
        about: "What the event of a request costs the thread that logs it, and the process, beside \
                `tracing_subscriber`'s own JSON on the way to the same file; aim: at most half.",
    },
    Benchmark {
        title: "The database",
        name: "database",
        about: "What a statement costs through the database of the frame, with its guards, beside a \
                pool of sqlx with its defaults and one connection that nobody shares; aim: ahead of \
                the pool, and half as fast again for reads.",
    },
];

/// What a benchmark of the project says.
fn run(benchmark: &Benchmark, project: &Project, target: &Path) -> Result<String> {
    let arguments = ["bench", "--locked", "--bench", benchmark.name];
    Ok(String::from_utf8(run_cargo(
        project.dir(),
        target,
        &arguments,
    )?)?)
}

fn build(project: &Project, target: &Path, arguments: &[&str]) -> Result<Duration> {
    let started = Instant::now();
    let build = [&["build", "--locked"], arguments].concat();
    run_cargo(project.dir(), target, &build)?;
    Ok(started.elapsed())
}

/// What cargo prints when it succeeds.
fn run_cargo(directory: &Path, target: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", target)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// The median of five changes to a route that cargo cannot take for nothing.
fn rebuild(project: &Project, target: &Path) -> Result<Duration> {
    let route = project.dir().join("src/service/targets/store.rs");
    let original = fs::read_to_string(&route)?;
    let mut times = Vec::new();
    for attempt in 0..5 {
        let changed = original.replace("There is no room", &format!("There are {attempt} places"));
        ensure!(
            changed != original,
            "the route to change is not what it was"
        );
        fs::write(&route, changed)?;
        times.push(build(project, target, &[])?);
    }
    fs::write(&route, original)?;
    Ok(median(times))
}

/// From `exec` to `ready`: the median, with a database that has to be made or is there.
async fn starts(binary: &PathBuf, again: bool) -> Result<Duration> {
    let kept = tempfile::tempdir()?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let mut launch = Service::of(binary);
        if again {
            launch = launch.directory(kept.path());
        }
        let started = Instant::now();
        let service = launch.start().await?;
        let ready = service.event("ready").await;
        times.push(ready.received.duration_since(started));
        service.stop().await;
    }
    Ok(median(times))
}

/// Resident memory when nothing has been asked yet, and after some work.
async fn memory(binary: &PathBuf) -> Result<(u64, u64)> {
    let service = Service::of(binary).start().await?.ready().await;
    let address = service.http().await;
    let idle = service.rss();
    let mut connection = http::Http1::connect(address).await?;
    for number in 0..10_000 {
        let request = match number % 10 {
            0 => Request::post("/v1/targets").json(
                &serde_json::json!({ "url": format!("http://example.org/{}", number % 100) }),
            ),
            _ => Request::get("/v1/targets"),
        };
        connection.send(request).await?;
    }
    Ok((idle, service.rss()))
}

/// Resident memory for each connection of a crowd, of which everybody is idle, has sent half the
/// head of a request, or has one in flight.
async fn connections(binary: &PathBuf) -> Result<[u64; 3]> {
    make_room(CROWD)?;
    let mut each = [0; 3];
    for (bytes, manner) in each
        .iter_mut()
        .zip([Manner::Idle, Manner::HalfOpen, Manner::Busy])
    {
        let launch = welcoming(Service::of(binary), CROWD);
        let service = launch.start().await?.ready().await;
        *bytes = Crowd::gather(&service, manner, CROWD).await?.bytes_each;
    }
    Ok(each)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
fn kibibytes(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / f64::from(1 << 10))
}
