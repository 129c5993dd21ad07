//! The costs of building, starting and running a service.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::crowd::{Crowd, Manner, make_room, welcoming};
use crate::http::{Http1, Request};
use crate::service::Service;
use crate::variant::{Project, Variant, cargo_with};

/// The number of measured starts. The median is reported.
const STARTS: usize = 21;

/// The number of open connections for the memory of one.
const CROWD: usize = 10_000;

/// Prints a table. All builds go into an empty directory.
pub(super) fn measure() -> Result<()> {
    let target = tempfile::tempdir()?;
    let target = target.path();
    let hello = Variant::default().generate();
    let monitor = Variant::default().example("monitor").generate();
    println!("| what | measured | aim |\n|---|---|---|");
    let row = |what: &str, measured: String, aim: &str| println!("| {what} | {measured} | {aim} |");

    let time = format!("{:.1?}", build(&hello, target, &[]));
    row(
        "`hello`: clean debug build, all dependencies",
        time,
        "under 90 s",
    );
    let time = format!("{:.1?}", rebuild(&hello, target)?);
    row(
        "`hello`: debug build after a change to its handler",
        time,
        "under 5 s",
    );
    let time = format!("{:.1?}", build(&monitor, target, &["--release"]));
    row("`monitor`: clean release build, with fat LTO", time, "–");
    let binary = target.join("release").join(monitor.name());
    let size = mebibytes(fs::metadata(&binary)?.len());
    row("`monitor`: release binary", size, "under 15 MiB");

    let runtime = tokio::runtime::Runtime::new()?;
    for (what, again) in [("new", false), ("existing", true)] {
        let what = format!("Start to `ready`, {what} database");
        let time = format!("{:.1?}", runtime.block_on(starts(&binary, again))?);
        row(&what, time, "under 50 ms");
    }
    let (idle, worked) = runtime.block_on(memory(&binary))?;
    row("Memory when idle (RSS)", mebibytes(idle), "under 20 MiB");
    row("Memory after 10 000 requests (RSS)", mebibytes(worked), "–");
    for (what, manner) in [
        ("Memory for an idle connection, one of 10 000", Manner::Idle),
        ("… with half a request head", Manner::HalfOpen),
        ("… with a request in flight", Manner::Busy),
    ] {
        let bytes = runtime.block_on(connection(&binary, manner))?;
        row(what, format!("{} KiB", bytes >> 10), "under 32 KiB");
    }
    Ok(())
}

fn build(project: &Project, target: &Path, arguments: &[&str]) -> Duration {
    let began = Instant::now();
    let arguments = [&["build", "--locked"], arguments].concat();
    let environment = [
        ("CARGO_TARGET_DIR", target.display().to_string()),
        // As its owner builds it.
        ("CARGO_INCREMENTAL", "1".to_owned()),
    ];
    cargo_with(project.dir(), project.name(), &arguments, &environment);
    began.elapsed()
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
        times.push(build(project, target, &[]));
    }
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
        let began = Instant::now();
        let service = launch.start().await?;
        let ready = service.event("ready").await;
        times.push(ready.received.duration_since(began));
        service.stop().await;
    }
    Ok(median(times))
}

/// Resident memory before the first request, and after some work.
async fn memory(binary: &PathBuf) -> Result<(u64, u64)> {
    let service = Service::of(binary).ready().await;
    let idle = service.rss();
    let mut connection = Http1::connect(service.http().await).await?;
    for number in 0..10_000 {
        let url = format!("http://example.org/{}", number % 100);
        let request = match number % 10 {
            0 => Request::post("/v1/targets").json(&serde_json::json!({ "url": url })),
            _ => Request::get("/v1/targets"),
        };
        connection.send(request).await?;
    }
    Ok((idle, service.rss()))
}

/// Resident memory for each connection of a crowd.
async fn connection(binary: &PathBuf, manner: Manner) -> Result<u64> {
    make_room(CROWD)?;
    let service = welcoming(Service::of(binary), CROWD).ready().await;
    Ok(Crowd::gather(&service, manner, CROWD).await?.bytes_each)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn mebibytes(bytes: u64) -> String {
    let tenths = (bytes * 10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
