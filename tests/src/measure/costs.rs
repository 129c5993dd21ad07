//! The costs of building, starting and running a service.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{judged, mebibytes, median, run_cargo};
use crate::crowd::{Crowd, Manner, make_room, welcoming};
use crate::http::{self, Request};
use crate::service::Service;
use crate::variant::{Project, Variant};

/// The number of measured starts. The median is reported.
const STARTS: usize = 21;

/// The target for one start.
const START: Duration = Duration::from_millis(50);

/// The number of open connections for the memory of one.
const CROWD: usize = 10_000;

/// The figures of the table and their aims.
const FIGURES: [(&str, &str); 11] = [
    ("`hello`: clean debug build, all dependencies", "under 90 s"),
    (
        "`hello`: debug build after a change to its handler",
        "under 5 s",
    ),
    ("`monitor`: clean release build, with fat LTO", "–"),
    ("`monitor`: release binary", "under 15 MiB"),
    ("Start to `ready`, new database", "under 50 ms"),
    ("Start to `ready`, existing database", "under 50 ms"),
    ("Memory when idle (RSS)", "under 20 MiB"),
    ("Memory after 10 000 requests (RSS)", "–"),
    (
        "Memory for an idle connection, one of 10 000",
        "under 32 KiB",
    ),
    ("… with half a request head", "under 32 KiB"),
    ("… with a request in flight", "under 32 KiB"),
];

/// The table of docs/performance.md. Builds go into an empty directory.
pub(super) fn section(target: &Path) -> Result<String> {
    let hello = Variant::default().generate();
    let monitor = Variant::default().example("monitor").generate();
    let runtime = tokio::runtime::Runtime::new()?;
    let debug = build(&hello, target, &[])?;
    let rebuild = rebuild(&hello, target)?;
    let release = build(&monitor, target, &["--release"])?;
    let binary = target.join("release").join(monitor.name());
    let size = fs::metadata(&binary)?.len();
    let first = runtime.block_on(starts(&binary, false))?;
    let again = runtime.block_on(starts(&binary, true))?;
    let (idle, worked) = runtime.block_on(memory(&binary))?;
    let [idle_each, half_open_each, busy_each] = runtime.block_on(connections(&binary))?;
    let measured = [
        judged(seconds(debug), debug < Duration::from_secs(90)),
        judged(seconds(rebuild), rebuild < Duration::from_secs(5)),
        seconds(release),
        judged(mebibytes(size), size < 15 << 20),
        judged(milliseconds(first), first < START),
        judged(milliseconds(again), again < START),
        judged(mebibytes(idle), idle < 20 << 20),
        mebibytes(worked),
        judged(kibibytes(idle_each), idle_each < 32 << 10),
        judged(kibibytes(half_open_each), half_open_each < 32 << 10),
        judged(kibibytes(busy_each), busy_each < 32 << 10),
    ];
    let mut page = "\n| what | measured | aim |\n|---|---|---|\n".to_owned();
    for ((what, aim), measured) in FIGURES.iter().zip(measured) {
        writeln!(page, "| {what} | {measured} | {aim} |")?;
    }
    writeln!(
        page,
        "\nClean builds start from an empty target directory, with all dependencies downloaded. \
         The other figures are for the release build of `monitor`. A start lasts from `exec` to \
         the `ready` event in the log; the figure is the median of {STARTS} starts. Memory is \
         the resident set size that Linux reports. It does not include kernel memory for \
         sockets."
    )?;
    Ok(page)
}

fn build(project: &Project, target: &Path, arguments: &[&str]) -> Result<Duration> {
    let started = Instant::now();
    let build = [&["build", "--locked"], arguments].concat();
    run_cargo(project.dir(), target, &build)?;
    Ok(started.elapsed())
}

/// The median of five builds, each after a change to the handler's code.
fn rebuild(project: &Project, target: &Path) -> Result<Duration> {
    let handler = project.dir().join("src/hello.rs");
    let original = fs::read_to_string(&handler)?;
    let mut times = Vec::new();
    for attempt in 0..5 {
        let changed = original.replace("{}, {name}", &format!("{{}}, {{name}}: {attempt}"));
        ensure!(changed != original, "the handler has no text to change");
        fs::write(&handler, changed)?;
        times.push(build(project, target, &[])?);
    }
    fs::write(&handler, original)?;
    Ok(median(times))
}

/// The median time from `exec` to `ready`, with a new or an existing database.
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

/// Resident memory before the first request, and after some work.
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

/// Resident memory for each connection of a crowd: all idle, all with half a request head, or all
/// with a request in flight.
async fn connections(binary: &PathBuf) -> Result<[u64; 3]> {
    make_room(CROWD)?;
    let manners = [Manner::Idle, Manner::HalfOpen, Manner::Busy];
    let mut each = [0; 3];
    for (bytes, manner) in each.iter_mut().zip(manners) {
        let launch = welcoming(Service::of(binary), CROWD);
        let service = launch.start().await?.ready().await;
        *bytes = Crowd::gather(&service, manner, CROWD).await?.bytes_each;
    }
    Ok(each)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
fn kibibytes(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / f64::from(1 << 10))
}
